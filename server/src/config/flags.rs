//! The table of flags: one row each, in the order of `--help`. Name,
//! variable, config key, default, help and the field of [`Config`] all come
//! from the row.

use super::{
    cluster::{Cluster, Founder},
    features::Features,
    urls::Url,
    values::*,
};
use std::{path::PathBuf, sync::LazyLock, time::Duration};

/// Where `--help` lists a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// This member.
    Member,
    /// The cluster it belongs to.
    Clustering,
    /// TLS and browsers.
    Security,
    /// Users and tokens.
    Auth,
    /// Metrics and profiles.
    Monitoring,
    /// Logs.
    Logging,
    /// OpenTelemetry.
    Tracing,
    /// Less usual behaviour.
    Features,
    /// What can lose data.
    Unsafe,
}

impl Group {
    /// Its heading, as etcd's.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Member => "Member",
            Self::Clustering => "Clustering",
            Self::Security => "Security",
            Self::Auth => "Auth",
            Self::Monitoring => "Profiling and Monitoring",
            Self::Logging => "Logging",
            Self::Tracing => "Distributed tracing",
            Self::Features => "Features",
            Self::Unsafe => "Unsafe feature",
        }
    }
}

/// What setting a flag does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// What it does in etcd.
    Built,
    /// Nothing is left to tune: the part it tunes does not exist here.
    Moot,
    /// Nothing yet: a warning says so.
    Later,
    /// Nothing, ever: a warning says so.
    Ignored,
    /// Any other value than the default stops the start: going on without
    /// would be unsafe.
    Refused,
}

/// One row.
pub struct Flag {
    /// As on the command line, without dashes.
    pub name: String,
    /// Its place in a config file, dots for nesting; `None` for no place.
    pub yaml: Option<String>,
    /// The default as the command line would spell it.
    pub default: &'static str,
    /// What `--help` says.
    pub help: &'static str,
    /// What `--help` shows for the value.
    pub placeholder: &'static str,
    /// How a config file spells the value.
    pub in_file: InFile,
    /// Where `--help` lists it.
    pub group: Group,
    /// What setting it does.
    pub status: Status,
}

impl Flag {
    /// Its environment variable.
    pub fn variable(&self) -> String {
        format!("ETCD_{}", self.name.replace('-', "_").to_uppercase())
    }

    /// It may stand without a value.
    pub fn is_bool(&self) -> bool {
        self.placeholder == Bool::PLACEHOLDER
    }
}

/// Why a text is no value of a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadValue {
    /// In etcd's words.
    pub why: String,
    /// etcd would notice only after all flags are read.
    pub late: bool,
}

macro_rules! flags {
    ($(
        $group:ident:
        $(
            #[doc = $help:literal]
            $field:ident: $type:ty as $format:ty = $default:literal => $status:ident $(at $yaml:literal)?;
        )+
    )+) => {
        /// All flags, parsed: one public field per flag, named as the flag in
        /// snake case.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            $($(
                #[doc = $help]
                pub $field: $type,
            )+)+
        }

        impl Config {
            /// The defaults as the table spells them: nothing derived from
            /// another flag yet.
            pub(super) fn bare() -> Self {
                Self {
                    $($(
                        $field: <$format as Format>::parse($default).expect("a default is a valid value"),
                    )+)+
                }
            }

            /// Sets one flag; `None` if there is none of that name.
            pub(super) fn set(&mut self, name: &str, text: &str) -> Option<Result<(), BadValue>> {
                match name.replace('-', "_").as_str() {
                    $($(
                        stringify!($field) => Some(
                            <$format as Format>::parse(text).map(|value| self.$field = value).map_err(|why| BadValue {
                                why,
                                late: <$format as Format>::CHECKED_LATE,
                            }),
                        ),
                    )+)+
                    _ => None,
                }
            }
        }

        /// All rows, in order.
        pub static FLAGS: LazyLock<Vec<Flag>> = LazyLock::new(|| vec![
            $($({
                #[allow(unused_mut, unused_assignments)]
                let mut yaml = Some(stringify!($field).replace('_', "-"));
                $(yaml = Some($yaml.to_owned()).filter(|key: &String| !key.is_empty());)?
                Flag {
                    name: stringify!($field).replace('_', "-"),
                    yaml,
                    default: $default,
                    help: $help.trim_ascii(),
                    placeholder: <$format as Format>::PLACEHOLDER,
                    in_file: <$format as Format>::IN_FILE,
                    group: Group::$group,
                    status: Status::$status,
                }
            },)+)+
        ]);
    };
}

flags! {
    Member:
    /// Name of this member, as it stands in --initial-cluster.
    name: String as Text = "default" => Built;
    /// Directory of this member's data; created with mode 0700. Default: ${name}.etcd.
    data_dir: PathBuf as Path = "" => Built;
    /// Directory of the raft log, for a disk of its own. Default: member/wal in the data directory.
    wal_dir: PathBuf as Path = "" => Built;
    /// Applied entries after which the state is flushed to disk at the latest.
    snapshot_count: u64 as Uint = "10000" => Built;
    /// Log entries kept for slow followers.
    snapshot_catchup_entries: u64 as Uint = "5000" => Built;
    /// Time of a heartbeat interval, in milliseconds.
    heartbeat_interval: Duration as Millis = "100" => Built;
    /// Time without a leader before an election, in milliseconds; at least 5 heartbeats, at most 50000.
    election_timeout: Duration as Millis = "1000" => Built;
    /// Shorten the first election's wait; here the first election never waits.
    initial_election_tick_advance: bool as Bool = "true" => Moot;
    /// URLs to listen on for the other members.
    listen_peer_urls: Vec<Url> as Urls = "http://localhost:2380" => Built;
    /// URLs to listen on for clients: gRPC and HTTP.
    listen_client_urls: Vec<Url> as Urls = "http://localhost:2379" => Built;
    /// URLs for clients' HTTP alone; the client URLs then speak gRPC alone.
    listen_client_http_urls: Vec<Url> as Urls = "" => Built;
    /// Further URLs for /metrics, /health, /livez and /readyz.
    listen_metrics_urls: Vec<Url> as Urls = "" => Built;
    /// Snapshot files to keep; here no such files exist.
    max_snapshots: u64 as Uint = "5" => Ignored;
    /// Log files to keep; here segments are recycled as soon as they may.
    max_wals: u64 as Uint = "5" => Moot;
    /// Lock all memory, so that none is swapped.
    memory_mlock: bool as Bool = "false" => Later;
    /// Bytes of data above which writes are refused; 0: 2 GiB, negative: no limit.
    quota_backend_bytes: i64 as Int = "0" => Built;
    /// bbolt's free list: array or map. There is no bbolt here.
    backend_bbolt_freelist_type: String as Text = "map" => Ignored;
    /// Longest time before a backend commit; here each applied chunk is one commit.
    backend_batch_interval: Duration as Span = "0s" => Moot;
    /// Most operations in a backend commit; here each applied chunk is one commit.
    backend_batch_limit: i64 as Int = "0" => Moot;
    /// Most operations in a transaction.
    max_txn_ops: usize as Size = "128" => Built;
    /// Most bytes in a request.
    max_request_bytes: usize as Size = "1572864" => Built;
    /// Most streams a client may have open on one connection.
    max_concurrent_streams: u32 as Uint32 = "4294967295" => Built;
    /// Least time between a client's pings; here pings are bounded otherwise.
    grpc_keepalive_min_time: Duration as Span = "5s" => Ignored;
    /// Time between the server's pings of a silent client; 0: none.
    grpc_keepalive_interval: Duration as Span = "2h0m0s" => Built;
    /// Time a client has to answer a ping before its connection is closed.
    grpc_keepalive_timeout: Duration as Span = "20s" => Built;
    /// Listen with SO_REUSEPORT.
    socket_reuse_port: bool as Bool = "false" => Built at "socket-options.reuse-port";
    /// Listen with SO_REUSEADDR.
    socket_reuse_address: bool as Bool = "false" => Built at "socket-options.reuse-address";
    /// Serve JSON under /v3/.
    enable_grpc_gateway: bool as Bool = "true" => Later;
    /// Read timeout on connections between members; at least 5s.
    raft_read_timeout: Duration as Span = "5s" => Later at "";
    /// Write timeout on connections between members; at least 5s.
    raft_write_timeout: Duration as Span = "5s" => Later at "";

    Clustering:
    /// This member's peer URLs, as told to the cluster.
    initial_advertise_peer_urls: Vec<Url> as Urls = "http://localhost:2380" => Built;
    /// The founding members: name=url,name=url. Default: this one alone.
    initial_cluster: Vec<Founder> as Cluster = "" => Built;
    /// Whether this start founds the cluster ("new") or joins a running one ("existing").
    initial_cluster_state: ClusterState as ClusterState = "new" => Built;
    /// Mixed into the IDs, so that two clusters never take each other for one.
    initial_cluster_token: String as Text = "etcd-cluster" => Built;
    /// This member's client URLs, as told to clients.
    advertise_client_urls: Vec<Url> as Urls = "http://localhost:2379" => Built;
    /// Token of the cluster to be discovered.
    discovery_token: String as Text = "" => Refused at "discovery-config.token";
    /// Endpoints of the discovery service.
    discovery_endpoints: Vec<String> as List = "" => Refused at "discovery-config.endpoints";
    /// Dial timeout of the discovery client.
    discovery_dial_timeout: Duration as Span = "2s" => Later at "discovery-config.dial-timeout";
    /// Request timeout of the discovery client.
    discovery_request_timeout: Duration as Span = "5s" => Later at "discovery-config.request-timeout";
    /// Keepalive time of the discovery client.
    discovery_keepalive_time: Duration as Span = "2s" => Later at "discovery-config.keepalive-time";
    /// Keepalive timeout of the discovery client.
    discovery_keepalive_timeout: Duration as Span = "6s" => Later at "discovery-config.keepalive-timeout";
    /// Talk to the discovery service without TLS.
    discovery_insecure_transport: bool as Bool = "true" => Later at "discovery-config.secure.insecure-transport";
    /// Take any certificate of the discovery service.
    discovery_insecure_skip_tls_verify: bool as Bool = "false" => Later at "discovery-config.secure.insecure-skip-tls-verify";
    /// Client certificate for the discovery service.
    discovery_cert: PathBuf as Path = "" => Later at "discovery-config.secure.cert";
    /// Key of that certificate.
    discovery_key: PathBuf as Path = "" => Later at "discovery-config.secure.key";
    /// CA of the discovery service.
    discovery_cacert: PathBuf as Path = "" => Later at "discovery-config.secure.cacert";
    /// User for the discovery service.
    discovery_user: String as Text = "" => Later at "discovery-config.auth.username";
    /// Password for the discovery service.
    discovery_password: String as Text = "" => Later at "discovery-config.auth.password";
    /// What to do if discovery fails: only "exit".
    discovery_fallback: String as Text = "exit" => Ignored at "";
    /// Domain whose SRV records name the members.
    discovery_srv: String as Text = "" => Refused;
    /// Suffix of the SRV service name.
    discovery_srv_name: String as Text = "" => Later;
    /// Refuse membership changes that would cost the quorum.
    strict_reconfig_check: bool as Bool = "true" => Built;
    /// Ask before starting an election; here always so.
    pre_vote: bool as Bool = "true" => Built;
    /// How much history is kept; 0: all. "5m", or a number of hours or revisions.
    auto_compaction_retention: Retention as Retention = "0" => Built;
    /// What --auto-compaction-retention counts.
    auto_compaction_mode: AutoCompactionMode as AutoCompactionMode = "periodic" => Built;
    /// Phase of the end of the v2 store. There is no v2 store here.
    v2_deprecation: String as Text = "write-only" => Ignored;

    Security:
    /// Certificate of the client URLs.
    cert_file: PathBuf as Path = "" => Refused at "client-transport-security.cert-file";
    /// Key of that certificate.
    key_file: PathBuf as Path = "" => Refused at "client-transport-security.key-file";
    /// Require a certificate of every client.
    client_cert_auth: bool as Bool = "false" => Refused at "client-transport-security.client-cert-auth";
    /// Certificate this server shows to its own client URL.
    client_cert_file: PathBuf as Path = "" => Refused at "client-transport-security.client-cert-file";
    /// Key of that certificate.
    client_key_file: PathBuf as Path = "" => Refused at "client-transport-security.client-key-file";
    /// Revoked client certificates.
    client_crl_file: PathBuf as Path = "" => Refused at "";
    /// Names of which a client certificate must have one.
    client_cert_allowed_hostname: Vec<String> as List = "" => Refused at "client-transport-security.allowed-hostname";
    /// CA of the clients' certificates.
    trusted_ca_file: PathBuf as Path = "" => Refused at "client-transport-security.trusted-ca-file";
    /// Serve clients with a certificate made at start.
    auto_tls: bool as Bool = "false" => Refused at "client-transport-security.auto-tls";
    /// Certificate of the peer URLs.
    peer_cert_file: PathBuf as Path = "" => Refused at "peer-transport-security.cert-file";
    /// Key of that certificate.
    peer_key_file: PathBuf as Path = "" => Refused at "peer-transport-security.key-file";
    /// Require a certificate of every member.
    peer_client_cert_auth: bool as Bool = "false" => Refused at "peer-transport-security.client-cert-auth";
    /// Certificate shown to other members.
    peer_client_cert_file: PathBuf as Path = "" => Refused at "peer-transport-security.client-cert-file";
    /// Key of that certificate.
    peer_client_key_file: PathBuf as Path = "" => Refused at "peer-transport-security.client-key-file";
    /// CA of the members' certificates.
    peer_trusted_ca_file: PathBuf as Path = "" => Refused at "peer-transport-security.trusted-ca-file";
    /// Common names of which a member's certificate must have one.
    peer_cert_allowed_cn: Vec<String> as List = "" => Refused at "peer-transport-security.allowed-cn";
    /// Names of which a member's certificate must have one.
    peer_cert_allowed_hostname: Vec<String> as List = "" => Refused at "peer-transport-security.allowed-hostname";
    /// Serve members with a certificate made at start.
    peer_auto_tls: bool as Bool = "false" => Refused at "peer-transport-security.auto-tls";
    /// Years for which certificates made at start are valid.
    self_signed_cert_validity: u64 as Uint = "1" => Later;
    /// Revoked member certificates.
    peer_crl_file: PathBuf as Path = "" => Refused at "";
    /// Take a member's certificate without looking at its names.
    peer_skip_client_san_verification: bool as Bool = "false" => Refused at "peer-transport-security.skip-client-san-verification";
    /// Cipher suites for TLS 1.2, by Go's names.
    cipher_suites: Vec<String> as List = "" => Later;
    /// Least TLS version: TLS1.2 or TLS1.3.
    tls_min_version: String as Text = "TLS1.2" => Later;
    /// Greatest TLS version: TLS1.2 or TLS1.3; empty: the newest.
    tls_max_version: String as Text = "" => Later;
    /// Origins from which browsers may call; "*" for all.
    cors: Vec<String> as List = "*" => Built;
    /// Host names under which plain HTTP may be asked; "*" for all.
    host_whitelist: Vec<String> as List = "*" => Built;

    Auth:
    /// Kind of token: "simple", or "jwt" with its options.
    auth_token: String as Text = "simple" => Refused;
    /// Cost of a password hash.
    bcrypt_cost: u64 as Uint = "10" => Later;
    /// Life of a simple token, in seconds.
    auth_token_ttl: Duration as Seconds = "300" => Later;

    Monitoring:
    /// Serve profiles under /debug/pprof/.
    enable_pprof: bool as Bool = "false" => Later;
    /// How much is measured; "extensive" adds a latency histogram per RPC.
    metrics: MetricsLevel as MetricsLevel = "basic" => Built;

    Logging:
    /// Only "zap".
    logger: String as Text = "zap" => Built;
    /// Where logs go: default, stderr, stdout, systemd/journal, or files.
    log_outputs: Vec<String> as List = "default" => Built;
    /// The least severe message that is logged.
    log_level: LogLevel as LogLevel = "info" => Built;
    /// The shape of a log line.
    log_format: LogFormat as LogFormat = "json" => Built;
    /// Rotate the log file.
    enable_log_rotation: bool as Bool = "false" => Later;
    /// When to rotate it.
    log_rotation_config_json: String as Text = "{\"maxsize\": 100, \"maxage\": 0, \"maxbackups\": 0, \"localtime\": false, \"compress\": false}" => Later;
    /// Log a warning for a unary request that takes longer.
    warning_unary_request_duration: Duration as Span = "300ms" => Built;
    /// Log a warning for an apply that takes longer.
    warning_apply_duration: Duration as Span = "100ms" => Built;

    Tracing:
    /// Send spans to a collector.
    enable_distributed_tracing: bool as Bool = "false" => Ignored;
    /// Address of the collector.
    distributed_tracing_address: String as Text = "localhost:4317" => Ignored;
    /// Name of this service in spans.
    distributed_tracing_service_name: String as Text = "etcd" => Ignored;
    /// Name of this instance in spans.
    distributed_tracing_instance_id: String as Text = "" => Ignored;
    /// Samples per million spans.
    distributed_tracing_sampling_rate: u64 as Uint = "0" => Ignored;

    Features:
    /// Switches, as Name=true,Name=false.
    feature_gates: Features as Features = "" => Built;
    /// Time between comparisons of the members' hashes; 0: none.
    corrupt_check_time: Duration as Span = "0s" => Later;
    /// Time between comparisons of the members' compaction hashes.
    compact_hash_check_time: Duration as Span = "1m0s" => Later;
    /// Revisions removed in one step of a compaction; 0: 1000.
    compaction_batch_limit: usize as Size = "0" => Built;
    /// Rest between steps of a compaction; 0: 10ms.
    compaction_sleep_interval: Duration as Span = "0s" => Built;
    /// Time between progress notifications of a silent watch; 0: 10m.
    watch_progress_notify_interval: Duration as Span = "0s" => Built;
    /// Time between checks whether a downgrade is done.
    downgrade_check_time: Duration as Span = "5s" => Later;
    /// Defragment at start if that frees so many megabytes.
    bootstrap_defrag_threshold_megabytes: u64 as Uint = "0" => Moot;
    /// Learners a cluster may have.
    max_learners: u64 as Uint = "1" => Built;
    /// Learners get their vote by themselves once they have caught up. Not in etcd.
    sternpost_promote_learners: bool as Bool = "false" => Built;

    Unsafe:
    /// Make this member a cluster of its own, with its data.
    force_new_cluster: bool as Bool = "false" => Built;
    /// Never wait for the disk; a power cut then loses data.
    unsafe_no_fsync: bool as Bool = "false" => Built;
}
