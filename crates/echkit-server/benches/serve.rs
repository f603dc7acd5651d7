//! `ech serve` beside Caddy, and beside rustls and hyper without ECH: handshakes, requests, bytes.
//!
//! `make bench-serve` runs it. Each server is a process of its own with the same certificate, files
//! and, where it has ECH, key; one load generator measures them all. Nothing is pinned to a core,
//! and the generator shares the machine with the server, so what it costs is in the rates. The CPU
//! time of the server alone is read from the system: what a server does in a second of it is the
//! figure to compare.
#![allow(clippy::unwrap_used)]

#[path = "serve/load.rs"]
mod load;
#[path = "serve/servers.rs"]
mod servers;
mod system;

use std::time::{Duration, Instant};

use load::{Load, Measure};
use servers::{Bed, WebServer};

/// Set for the process that is the server without ECH: the folder of its files.
const STOCK: &str = "ECHKIT_BENCH_STOCK";

fn main() {
    if let Some(folder) = std::env::var_os(STOCK) {
        return servers::run_stock(folder.as_ref());
    }
    // `cargo test` and `cargo bench` for all targets come here too.
    let Some(ech) = std::env::var_os("ECHKIT_BENCH_ECH") else {
        println!("serve: run it with make bench-serve");
        return;
    };
    let bed = Bed::new();
    let time = Duration::from_secs(number("SECONDS", 3));
    let rounds = number("ROUNDS", 5);
    let load = Load::new(&bed, number("CLIENTS", 32) as usize);
    // Caddy is the first row, which the others are compared with.
    let caddy = std::env::var_os("ECHKIT_BENCH_CADDY").expect("make bench-serve names Caddy");
    let servers = [
        bed.caddy(caddy.as_ref()),
        bed.ech(ech.as_ref()),
        bed.stock(),
    ];
    for measure in Measure::ALL {
        let mut rows: Vec<Row<'_>> = servers.iter().map(Row::new).collect();
        rows.retain(|row| row.server.has_ech || measure != Measure::EchHandshakes);
        // Rounds take turns, so that what else the machine does falls on all alike. The one before
        // them warms up caches.
        for row in &mut rows {
            row.measure(&load, measure, time / 4);
            row.samples.clear();
        }
        for _ in 0..rounds {
            for row in &mut rows {
                row.measure(&load, measure, time);
            }
        }
        print(measure, &rows);
    }
}

fn number(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok().filter(|text| !text.is_empty());
    let number = given.map_or(default, |text| text.parse().unwrap());
    assert!(number > 0, "{name} is a number from 1");
    number
}

/// What one round found.
struct Sample {
    per_second: f64,
    /// In a second of the server's CPU time.
    per_cpu_second: f64,
}

/// A server, and what was measured of it.
struct Row<'a> {
    server: &'a WebServer,
    samples: Vec<Sample>,
}

impl<'a> Row<'a> {
    fn new(server: &'a WebServer) -> Self {
        let samples = Vec::new();
        Self { server, samples }
    }

    fn measure(&mut self, load: &Load, measure: Measure, time: Duration) {
        let (cpu, begun) = (self.server.cpu(), Instant::now());
        let count = load.run(measure, self.server.address, time) as f64;
        let took = begun.elapsed();
        // At least a tick, the clock's unit.
        let cpu = (self.server.cpu() - cpu).max(Duration::from_millis(10));
        self.samples.push(Sample {
            per_second: count / took.as_secs_f64(),
            per_cpu_second: count / cpu.as_secs_f64(),
        });
    }

    fn sorted(&self, of: impl Fn(&Sample) -> f64) -> Vec<f64> {
        let mut all: Vec<f64> = self.samples.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all
    }
}

fn print(measure: Measure, rows: &[Row<'_>]) {
    let rate = |row: &Row<'_>| row.sorted(|sample| sample.per_second);
    let cpu = |row: &Row<'_>| row.sorted(|sample| sample.per_cpu_second);
    let median = |sorted: Vec<f64>| sorted[sorted.len() / 2];
    let best = |sorted: Vec<f64>| sorted[sorted.len() - 1];
    println!();
    println!(
        "| {measure} | a second, median | best | to Caddy | a CPU second, median | best | to Caddy |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for row in rows {
        println!(
            "| {} | {:.0} | {:.0} | {:.2}x | {:.0} | {:.0} | {:.2}x |",
            row.server.name,
            median(rate(row)),
            best(rate(row)),
            median(rate(row)) / median(rate(&rows[0])),
            median(cpu(row)),
            best(cpu(row)),
            median(cpu(row)) / median(cpu(&rows[0])),
        );
    }
}
