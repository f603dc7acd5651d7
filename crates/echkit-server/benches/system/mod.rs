//! What the system knows of a process.

use std::time::Duration;

/// The CPU time of a process and its children so far.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let ticks: u64 = family(pid).into_iter().map(ticks).sum();
    // USER_HZ is 100 on every Linux that Rust runs on.
    Duration::from_millis(ticks * 10)
}

/// A process and its children.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(child) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        if stat(child)
            .get(1)
            .is_some_and(|parent| *parent == pid.to_string())
        {
            all.push(child);
        }
    }
    all
}

/// The fields of `/proc/PID/stat` from the state on.
fn stat(pid: u32) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = text
        .rsplit_once(')')
        .map(|(_, rest)| rest)
        .unwrap_or_default();
    rest.split_whitespace().map(str::to_owned).collect()
}

fn ticks(pid: u32) -> u64 {
    let stat = stat(pid);
    let field = |at: usize| stat.get(at).and_then(|text| text.parse::<u64>().ok());
    field(11).unwrap_or_default() + field(12).unwrap_or_default()
}
