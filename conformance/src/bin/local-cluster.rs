//! Starts the members of a compose file as local processes, and stops them with it.
//!
//! `local-cluster docker-compose.yml DATA`: logs are in `DATA/NAME.log`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use sternpost_conformance::compose;
use sternpost_conformance::process::Process;
use sternpost_conformance::target::Kind;

/// From the start to service, on a busy machine.
const READY_LIMIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, data] = arguments.as_slice() else {
        eprintln!("usage: local-cluster COMPOSE-FILE DATA-DIRECTORY");
        return ExitCode::FAILURE;
    };
    match run(file, &PathBuf::from(data)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(file: &str, data: &PathBuf) -> Result<(), String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let members = compose::members(&text).map_err(|why| format!("{file}: {why}"))?;
    std::fs::create_dir_all(data).map_err(|error| format!("{}: {error}", data.display()))?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let program = Kind::Sternpost.program();
    let start = |nth: usize| {
        let flags = compose::local_flags(&members, nth, "127.0.0.1", data);
        let log = data.join(format!("{}.log", members[nth].name));
        Process::start(&program, &flags, &[], &log)
    };
    let mut processes: Vec<Process> = (0..members.len()).map(start).collect();
    for (process, member) in processes.iter().zip(&members) {
        if !process.wait_ready(READY_LIMIT) {
            return Err(format!(
                "{} does not start:\n{}",
                member.name,
                process.tail()
            ));
        }
        println!("{} serves http://127.0.0.1:{}", member.name, member.port);
    }
    let endpoints = members
        .iter()
        .map(|member| format!("127.0.0.1:{}", member.port));
    let endpoints: Vec<String> = endpoints.collect();
    println!("export ETCDCTL_ENDPOINTS={}", endpoints.join(","));
    println!("Ctrl-C stops all; data and logs are in {}", data.display());
    runtime
        .block_on(tokio::signal::ctrl_c())
        .map_err(|error| error.to_string())?;
    for process in &mut processes {
        process.stop();
    }
    Ok(())
}
