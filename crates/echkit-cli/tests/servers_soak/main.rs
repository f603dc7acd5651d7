//! `ech serve`, `ech route` and `ech rotate` as processes, side by side, under load.
//!
//! `make soak-servers` runs it for longer: `ECHKIT_SOAK_SECONDS` says how long each phase takes,
//! `ECHKIT_SOAK_SEED` repeats the kills of an earlier run.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod bed;
mod clients;
#[path = "../process/mod.rs"]
mod process;

use std::time::{Duration, Instant};

use bed::Bed;
use clients::Clients;
use process::{Process, Used};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// How many keys are published in the phase under load at the least.
const ROTATIONS: usize = 5;

/// How often a process is killed in the other phase at the least.
const KILLS: usize = 6;

/// How long each phase takes, where that was asked for.
fn seconds() -> Option<Duration> {
    let text = std::env::var("ECHKIT_SOAK_SECONDS").ok()?;
    text.parse().ok().map(Duration::from_secs)
}

/// Router, server, and the rotation of the keys that both have.
struct Servers {
    serve: Process,
    route: Process,
    rotate: Process,
}

impl Servers {
    fn start(bed: &Bed, every: &str) -> Self {
        Self {
            serve: bed.serve(),
            route: bed.route(),
            rotate: bed.rotate(every),
        }
    }

    /// What `ech rotate` waits for before it publishes a key: both servers load it.
    fn load_keys(&mut self) {
        // A load that is under way may have begun before the key was there: it ends first.
        for _ in 0..2 {
            self.serve.reload("loaded");
            self.route.reload("keys loaded");
        }
    }

    /// Ends all in good order.
    fn stop(self, bed: &Bed) {
        // It finishes what it has begun.
        self.rotate.stop_with(|| bed.reload_is_done());
        self.route.stop();
        self.serve.stop();
    }

    fn used(&self) -> [Used; 3] {
        [&self.serve, &self.route, &self.rotate].map(Process::used)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_is_lost_while_keys_certificates_and_configuration_change() {
    let bed = Bed::new().await;
    // Five seconds in the long run: there clients have time for each key.
    let every = if seconds().is_some() { "5" } else { "0.2" };
    let mut servers = Servers::start(&bed, every);
    let clients = Clients::start(&bed, true);
    let begun = Instant::now();
    let (mut published, mut before) = (0, None);
    while published < ROTATIONS || seconds().is_some_and(|limit| begun.elapsed() < limit) {
        clients.all_are_there();
        if bed.reload_is_wanted() {
            // No key is published before every client has met the one before, from beginning to
            // end, so that no client is slower than keys are kept.
            if clients.turns_since_the_last_key() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            }
            bed.change_certificates_and_configuration();
            servers.load_keys();
            bed.reload_is_done();
        }
        if clients.learn(&bed) {
            published += 1;
            if published == ROTATIONS - 1 {
                before = Some(servers.used());
            }
        }
        servers.rotate.goes_on();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ends = clients.finish().await;
    let after = servers.used();
    println!(
        "{published} keys published in {:?}, each with reloads of certificates and configuration",
        begun.elapsed()
    );
    println!("{ends}");
    for ((name, before), after) in ["serve", "route", "rotate"]
        .iter()
        .zip(before.unwrap())
        .zip(after)
    {
        println!("{name}: {before} and {after}");
        if seconds().is_some() {
            assert!(before.is_as_much_as(&after), "{name} grew");
        }
    }
    ends.assert_that_all_went_well();
    servers.stop(&bed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_leaves_whole_files_and_goes_on() {
    let seed = std::env::var("ECHKIT_SOAK_SEED").ok();
    let seed = seed.map_or_else(rand::random, |text| text.parse().unwrap());
    println!("ECHKIT_SOAK_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let bed = Bed::new().await;
    let every = "0.1";
    let mut servers = Servers::start(&bed, every);
    let clients = Clients::start(&bed, false);
    let begun = Instant::now();
    let (mut kills, mut published) = ([0; 3], 0);
    while kills.iter().sum::<usize>() < KILLS
        || seconds().is_some_and(|limit| begun.elapsed() < limit)
    {
        // Each in turn, at a random moment of what it does.
        let victim = kills.iter().sum::<usize>() % 3;
        let end = Instant::now() + Duration::from_millis(random.random_range(0..400));
        while Instant::now() < end {
            clients.all_are_there();
            if bed.reload_is_wanted() {
                servers.load_keys();
                bed.reload_is_done();
            }
            published += usize::from(clients.learn(&bed));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        match victim {
            0 => {
                servers.serve.kill();
                servers.serve = bed.serve();
            }
            1 => {
                servers.route.kill();
                servers.route = bed.route();
            }
            _ => {
                servers.rotate.kill();
                bed.assert_whole_keys();
                bed.reload_is_done();
                servers.rotate = bed.rotate(every);
            }
        }
        kills[victim] += 1;
        clients.learn(&bed);
        // Whoever comes now is served, whatever it knows of the keys.
        bed.serves_everybody().await;
    }
    let ends = clients.finish().await;
    println!(
        "killed in {:?}: serve {}, route {}, rotate {}; {published} keys published",
        begun.elapsed(),
        kills[0],
        kills[1],
        kills[2]
    );
    println!("{ends}");
    ends.assert_that_nothing_was_wrong();
    servers.stop(&bed);
    bed.assert_whole_keys();
}
