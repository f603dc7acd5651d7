//! Keys, certificates and configuration change under load, and every connection ends as it should.
//!
//! `make soak-serve` runs it for longer: `ECHKIT_SOAK_SECONDS` says how long.
#![allow(clippy::unwrap_used)]

mod serve_bed;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use echkit::EchMode;
use echkit::config::EchConfigList;
use echkit::http::HttpVersions;
use echkit_proto::key::KeyParams;
use echkit_server::serve::ServeEvent;
use echkit_server::{KeyDirectory, KeyState};
use serve_bed::{Bed, OTHER, PUBLIC, SECRET, start};

/// How often keys rotate at the least.
const ROTATIONS: usize = 5;

/// What a client knows of the server's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Knows {
    Current,
    Old,
    VeryOld,
    Grease,
    Nothing,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_is_lost_while_keys_certificates_and_configuration_change() {
    let seconds = std::env::var("ECHKIT_SOAK_SECONDS");
    let soak = seconds
        .ok()
        .and_then(|text| text.parse().ok())
        .map(Duration::from_secs);
    let bed = Arc::new(Bed::new());
    // A key that never was the server's: what a client has whose answer is from long ago.
    let very_old = other_list();
    let server = start(bed.config()).await;
    let lists = Arc::new(Mutex::new(vec![bed.list()]));
    let (over, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut clients = Vec::new();
    for knows in [
        Knows::Current,
        Knows::Old,
        Knows::VeryOld,
        Knows::Grease,
        Knows::Nothing,
    ] {
        for versions in [HttpVersions::Http1, HttpVersions::Http2] {
            let (bed, lists) = (Arc::clone(&bed), Arc::clone(&lists));
            let (over, done) = (Arc::clone(&over), Arc::clone(&done));
            let (address, very_old) = (server.address, very_old.clone());
            clients.push(tokio::spawn(async move {
                let mut ends = BTreeMap::<String, usize>::new();
                let mut turn = 0;
                while !over.load(Ordering::Relaxed) || turn == 0 {
                    turn += 1;
                    let list = {
                        let lists = lists.lock().unwrap();
                        match knows {
                            Knows::Old => lists[lists.len().saturating_sub(2)].clone(),
                            _ => lists[lists.len() - 1].clone(),
                        }
                    };
                    let builder = match knows {
                        Knows::Current | Knows::Old => bed.client(address).ech_config(list),
                        Knows::VeryOld => bed.client(address).ech_config(very_old.clone()),
                        Knows::Grease => bed.client_in(EchMode::Grease, address),
                        Knows::Nothing => bed.client_in(EchMode::Off, address),
                    };
                    let client = builder.http(versions).build().unwrap();
                    // Two requests on one connection.
                    for name in [SECRET, SECRET, OTHER] {
                        let url = format!("https://{name}/");
                        let mut response = client.get(&url).send().await.unwrap_or_else(|error| {
                            panic!("{knows:?} over {versions:?}, turn {turn}: {error}")
                        });
                        assert_eq!(response.status(), 200, "{knows:?}");
                        let body = response.bytes().await.unwrap();
                        assert_eq!(body, format!("<p>{name}"), "{knows:?}");
                        *ends
                            .entry(response.report().ech.status.to_string())
                            .or_default() += 1;
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
                (knows, ends)
            }));
        }
    }

    let begun = Instant::now();
    let mut rotations = 0;
    let mut before = None;
    while rotations < ROTATIONS || soak.is_some_and(|soak| begun.elapsed() < soak) {
        // Each rotation meets clients.
        let turns = done.load(Ordering::Relaxed) + clients.len();
        while done.load(Ordering::Relaxed) < turns {
            assert!(
                !clients.iter().any(tokio::task::JoinHandle::is_finished),
                "a client gave up"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        rotate(&bed);
        lists.lock().unwrap().push(bed.list());
        bed.certify(OTHER, &[OTHER]);
        server.events.clear();
        server.handle.reload(Ok(bed.config())).await;
        server
            .events
            .wait(|event| *event == ServeEvent::Reloaded)
            .await;
        rotations += 1;
        if rotations == ROTATIONS {
            before = Some(used());
        }
    }
    over.store(true, Ordering::Relaxed);
    let mut all = BTreeMap::<Knows, BTreeMap<String, usize>>::new();
    for client in clients {
        let (knows, ends) = client.await.unwrap();
        for (end, count) in ends {
            *all.entry(knows).or_default().entry(end).or_default() += count;
        }
    }
    let after = used();
    println!("{rotations} rotations in {:?}: {all:?}", begun.elapsed());
    println!("memory in KB and descriptors: {before:?} and {after:?}");
    for knows in [Knows::Current, Knows::Old, Knows::VeryOld] {
        let accepted: usize = all[&knows].get("accepted").copied().unwrap_or_default();
        assert_eq!(
            accepted,
            all[&knows].values().sum::<usize>(),
            "{knows:?}: {all:?}"
        );
    }
    server.handle.stop();
    server.task.await.unwrap();
    server
        .events
        .wait(|event| *event == ServeEvent::Stopped { cut: 0 })
        .await;
    if let (Some(_), Some((memory, files)), Some((end_memory, end_files))) =
        (soak, before.flatten(), after)
    {
        assert!(end_memory < memory + memory / 4 + 20_000, "memory grew");
        assert!(end_files < files + 100, "descriptors grew");
    }
}

/// A list of a key that no server has.
fn other_list() -> EchConfigList {
    let key = echkit_proto::key::EchKey::generate(&KeyParams::new(PUBLIC).unwrap()).unwrap();
    EchConfigList::from(key.config().clone())
}

/// A key is made, loaded, published; and those before the last two are deleted.
fn rotate(bed: &Bed) {
    let directory = KeyDirectory::open(bed.path("keys")).unwrap();
    let mut locked = directory.lock().unwrap();
    let file = locked.make(&KeyParams::new(PUBLIC).unwrap()).unwrap();
    locked.publish(&file).unwrap();
    let old: Vec<String> = {
        let retiring = locked.status().into_iter();
        let retiring = retiring.filter(|key| key.entry.state == KeyState::Retiring);
        let mut files: Vec<String> = retiring.map(|key| key.entry.file).collect();
        files.truncate(files.len().saturating_sub(2));
        files
    };
    for file in old {
        locked.delete(&file).unwrap();
    }
}

/// Memory in KB and open descriptors of this process, which is server and clients.
fn used() -> Option<(usize, usize)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let memory = line.split_whitespace().nth(1)?.parse().ok()?;
    let files = std::fs::read_dir("/proc/self/fd").ok()?.count();
    Some((memory, files))
}
