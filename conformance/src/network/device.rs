//! A host: a network namespace, and the device that leads out of it.

use super::Network;
use std::ffi::c_int;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};

/// `_IOW('T', 202, int)`.
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const NAME: &str = "switch0";
/// Large packets: fewer of them, and a loss still hits TCP as a loss.
const MTU: c_int = 9000;
/// A packet is never longer.
pub const PACKET_MAX: usize = 9216;

/// The switch's end of a host's device.
pub struct Device {
    /// The host.
    pub number: u8,
    file: File,
}

impl Device {
    /// Moves the calling thread into a new namespace and puts a device there.
    pub fn create(number: u8) -> Result<Self, String> {
        // SAFETY: it changes the namespace of this thread alone.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            return Err(last("a network namespace can't be made"));
        }
        let file = File::options().read(true).write(true).open("/dev/net/tun");
        let file = file.map_err(|error| format!("/dev/net/tun: {error}"))?;
        let mut request = request(NAME);
        let flags = libc::IFF_TUN | libc::IFF_NO_PI;
        request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).expect("flags are 16 bits");
        control(file.as_raw_fd(), TUNSETIFF, &mut request, "a TUN device")?;
        // SAFETY: fcntl on a descriptor that is ours.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        configure(number)?;
        Ok(Self { number, file })
    }

    /// The next packet that the host sends; none for now.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Option<usize> {
        self.file.read(buffer).ok()
    }

    /// Hands a packet to the host. What its queue does not take is lost, as on a wire.
    pub fn send(&mut self, packet: &[u8]) {
        let _ = self.file.write(packet);
    }

    /// To wait for.
    pub fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// The namespace of the calling thread.
pub fn namespace() -> Result<File, String> {
    File::open("/proc/thread-self/ns/net").map_err(|error| format!("its namespace: {error}"))
}

/// Gives the device its address, and sets it and the loopback up.
fn configure(number: u8) -> Result<(), String> {
    // SAFETY: a new socket; the file owns and closes it.
    let socket = unsafe {
        let descriptor = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if descriptor < 0 {
            return Err(last("a socket"));
        }
        File::from_raw_fd(descriptor)
    };
    let socket = socket.as_raw_fd();
    let address: Ipv4Addr = Network::address(number)
        .parse()
        .expect("it is an IPv4 address");
    for (what, address) in [
        (libc::SIOCSIFADDR, address),
        (libc::SIOCSIFNETMASK, Ipv4Addr::new(255, 255, 255, 0)),
    ] {
        let mut request = request(NAME);
        request.ifr_ifru.ifru_addr = socket_address(address);
        control(socket, what, &mut request, "an address")?;
    }
    let mut mtu = request(NAME);
    mtu.ifr_ifru.ifru_mtu = MTU;
    control(socket, libc::SIOCSIFMTU, &mut mtu, "the packet size")?;
    for name in ["lo", NAME] {
        let mut up = request(name);
        let flags = libc::IFF_UP | libc::IFF_RUNNING;
        up.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).expect("flags are 16 bits");
        control(socket, libc::SIOCSIFFLAGS, &mut up, "setting it up")?;
    }
    Ok(())
}

fn request(name: &str) -> libc::ifreq {
    // SAFETY: a plain structure of the system, for which all zeros is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let mut plain = libc::sockaddr {
        sa_family: libc::sa_family_t::try_from(libc::AF_INET).expect("it is small"),
        sa_data: [0; 14],
    };
    // Two bytes of port, then the address.
    for (to, from) in plain.sa_data[2..6].iter_mut().zip(address.octets()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    plain
}

fn control(
    descriptor: RawFd,
    what: libc::c_ulong,
    request: &mut libc::ifreq,
    name: &str,
) -> Result<(), String> {
    // SAFETY: every request used here takes a pointer to this structure.
    match unsafe { libc::ioctl(descriptor, what, std::ptr::from_mut(request)) } {
        0 => Ok(()),
        _ => Err(last(name)),
    }
}

fn last(what: &str) -> String {
    format!("{what}: {}", io::Error::last_os_error())
}
