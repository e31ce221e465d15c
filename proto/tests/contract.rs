//! The wire contract equals etcd 3.7.1's tables, field by field.
//!
//! `data/*.tsv` list every message, field, enum value and RPC of etcd 3.7.1.
//! They and our descriptors must say the same, in both directions.

use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};
use std::collections::BTreeSet;

const PACKAGES: [&str; 5] = [
    "mvccpb",
    "authpb",
    "etcdserverpb",
    "v3lockpb",
    "v3electionpb",
];

/// The named columns of a table, joined by spaces.
fn table(text: &str, columns: &[&str]) -> BTreeSet<String> {
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().expect("a header line").split('\t').collect();
    let at: Vec<usize> = columns
        .iter()
        .map(|c| {
            header
                .iter()
                .position(|h| h == c)
                .expect("the column exists")
        })
        .collect();
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            at.iter().map(|&i| cells[i]).collect::<Vec<_>>().join(" ")
        })
        .collect()
}

fn descriptors() -> FileDescriptorSet {
    FileDescriptorSet::decode(sternpost_proto::DESCRIPTORS).expect("our own descriptors decode")
}

fn type_name(r#type: Type, named: &str) -> String {
    match r#type {
        Type::Message | Type::Enum => named.trim_start_matches('.').to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}

fn fields_of(package: &str, message: &DescriptorProto, out: &mut BTreeSet<String>) {
    let name = message.name();
    if message.field.is_empty() {
        out.insert(format!("{package} {name} - - - - -"));
    }
    for field in &message.field {
        let label = if field.label() == Label::Repeated {
            "repeated"
        } else {
            "singular"
        };
        let oneof = field
            .oneof_index
            .map_or("-", |i| message.oneof_decl[i as usize].name());
        out.insert(format!(
            "{package} {name} {} {} {label} {} {oneof}",
            field.name(),
            field.number(),
            type_name(field.r#type(), field.type_name()),
        ));
    }
}

fn values_of(
    package: &str,
    prefix: &str,
    enumeration: &EnumDescriptorProto,
    out: &mut BTreeSet<String>,
) {
    for value in &enumeration.value {
        out.insert(format!(
            "{package} {prefix}{} {} {}",
            enumeration.name(),
            value.name(),
            value.number()
        ));
    }
}

#[test]
fn messages_equal_the_table() {
    let mut ours = BTreeSet::new();
    for file in descriptors()
        .file
        .iter()
        .filter(|f| PACKAGES.contains(&f.package()))
    {
        for message in &file.message_type {
            fields_of(file.package(), message, &mut ours);
        }
    }
    let columns = [
        "package", "message", "field", "number", "label", "type", "oneof",
    ];
    assert_eq!(ours, table(include_str!("data/messages.tsv"), &columns));
}

#[test]
fn enums_equal_the_table() {
    let mut ours = BTreeSet::new();
    for file in descriptors()
        .file
        .iter()
        .filter(|f| PACKAGES.contains(&f.package()))
    {
        for enumeration in &file.enum_type {
            values_of(file.package(), "", enumeration, &mut ours);
        }
        for message in &file.message_type {
            for enumeration in &message.enum_type {
                values_of(
                    file.package(),
                    &format!("{}.", message.name()),
                    enumeration,
                    &mut ours,
                );
            }
        }
    }
    assert_eq!(
        ours,
        table(
            include_str!("data/enums.tsv"),
            &["package", "enum", "value", "number"]
        )
    );
}

#[test]
fn rpcs_equal_the_table() {
    let yes_no = |b: bool| if b { "yes" } else { "no" };
    let mut ours = BTreeSet::new();
    for file in descriptors()
        .file
        .iter()
        .filter(|f| PACKAGES.contains(&f.package()))
    {
        for service in &file.service {
            for rpc in &service.method {
                ours.insert(format!(
                    "{}.{} {} {} {} {} {}",
                    file.package(),
                    service.name(),
                    rpc.name(),
                    rpc.input_type().trim_start_matches('.'),
                    rpc.output_type().trim_start_matches('.'),
                    yes_no(rpc.client_streaming()),
                    yes_no(rpc.server_streaming()),
                ));
            }
        }
    }
    let columns = [
        "service",
        "rpc",
        "request",
        "response",
        "client_streaming",
        "server_streaming",
    ];
    assert_eq!(ours, table(include_str!("data/rpcs.tsv"), &columns));
}
