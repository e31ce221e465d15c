//! A network of hosts on this machine, whose links can be cut, slow or lossy.
//!
//! Every host is a network namespace with one TUN device; a thread of ours is the
//! switch between the devices: it reads each packet, asks the rule of that link
//! and direction, and hands it on, later, or never. TCP above it is the kernel's
//! own. The scenario itself runs on a host too, so that its clients can be cut off
//! like any member. Nothing outlives the process: namespaces and devices go with
//! their last descriptor.

mod device;
pub mod links;
mod switch;

use device::Device;
use links::Links;
use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// The host of the scenario; members are 1, 2, ...
pub const CLIENTS: u8 = 100;

/// Hosts and the switch between them. Dropping it stops the switch.
pub struct Network {
    hosts: Vec<Host>,
    links: Arc<Links>,
    stop: Arc<AtomicBool>,
    switch: Option<JoinHandle<()>>,
}

struct Host {
    number: u8,
    namespace: File,
}

impl Network {
    /// Runs a scenario on a network of so many hosts for members. The scenario's
    /// thread, and those that it starts, are on a host of their own.
    ///
    /// # Errors
    /// Where there can be no namespaces or TUN devices: it takes root and Linux.
    ///
    /// # Panics
    /// When the scenario does.
    pub fn run<T: Send>(
        members: u8,
        seed: u64,
        scenario: impl FnOnce(&Arc<Self>) -> T + Send,
    ) -> Result<T, String> {
        std::thread::scope(|scope| {
            let run = scope.spawn(|| Ok(scenario(&Self::create(members, seed)?)));
            match run.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Says that something was not tested for want of a network.
    ///
    /// # Panics
    /// When `STERNPOST_NETWORK` says that there must be one.
    pub fn missing(why: &str) {
        let required = std::env::var("STERNPOST_NETWORK").is_ok_and(|word| word == "required");
        assert!(!required, "no network of our own: {why}");
        println!("NOT TESTED: cut and slow links: no network of our own here: {why}");
    }

    /// Moves the calling thread to the clients' host.
    fn create(members: u8, seed: u64) -> Result<Arc<Self>, String> {
        let mut devices = vec![Device::create(CLIENTS)?];
        let mut hosts = Vec::new();
        for number in 1..=members {
            let made = std::thread::spawn(move || {
                Ok::<_, String>((Device::create(number)?, device::namespace()?))
            });
            let (device, namespace) = made.join().map_err(|_| "a host can't be made")??;
            devices.push(device);
            hosts.push(Host { number, namespace });
        }
        let links = Arc::new(Links::default());
        let stop = Arc::new(AtomicBool::new(false));
        let switch = switch::Switch::new(devices, Arc::clone(&links), seed);
        let stopped = Arc::clone(&stop);
        Ok(Arc::new(Self {
            hosts,
            links,
            stop,
            switch: Some(std::thread::spawn(move || switch.run(&stopped))),
        }))
    }

    /// The links, to be cut and mended.
    #[must_use]
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// The address of a host.
    #[must_use]
    pub fn address(number: u8) -> String {
        format!("10.77.0.{number}")
    }

    /// What a process enters to be on that host.
    ///
    /// # Panics
    /// When there is no such host.
    #[must_use]
    pub fn namespace(&self, number: u8) -> RawFd {
        let host = self.hosts.iter().find(|host| host.number == number);
        host.expect("hosts are numbered from 1")
            .namespace
            .as_raw_fd()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(switch) = self.switch.take() {
            let _ = switch.join();
        }
    }
}
