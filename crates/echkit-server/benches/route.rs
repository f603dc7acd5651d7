//! `ech route` beside HAProxy and nginx as TCP routers by SNI: connections, throughput, latency.
//!
//! `make bench-route` runs it. What is measured is the router alone: backends answer a recorded
//! ClientHello with a ServerHello that means nothing, and no cryptography happens but the opening of
//! ECH offers in the router. The CPU time of the router's processes is read from the system, so
//! that the load generator, which shares the machine, does not count.
#![allow(clippy::unwrap_used)]

mod system;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use echkit_proto::key::EchKey;
use echkit_test::in_memory::{self, Pki, connect, offer};
use echkit_test::lab;

/// The names that lead to backends which answer and wait, send data, or send back.
const NAMES: [&str; 3] = ["short.example", "bulk.example", "echo.example"];

const BULK: usize = 1 << 30;
const PINGS: usize = 5_000;

fn main() {
    // `cargo test` and `cargo bench` for all targets come here too.
    let Some(ech) = std::env::var_os("ECHKIT_BENCH_ECH") else {
        println!("route: run it with make bench-route");
        return;
    };
    let bed = Bed::new();
    let seconds = number("SECONDS", 3);
    let rounds = number("ROUNDS", 3);
    let clients = number("CLIENTS", 32);
    let routers = [
        Some(bed.direct()),
        Some(bed.ech(Path::new(&ech), false)),
        Some(bed.ech(Path::new(&ech), true)),
        bed.haproxy(),
        bed.nginx(),
    ];
    let mut routers: Vec<Router> = routers.into_iter().flatten().collect();
    // Rounds take turns, so that what else the machine does falls on all alike; the best counts.
    for _ in 0..rounds {
        for router in &mut routers {
            router.measure(Duration::from_secs(seconds), clients as usize);
        }
    }
    println!(
        "| router | connections/s | CPU µs each | MB/s | CPU ms per GB | connect, µs | ping, µs |"
    );
    println!("|---|---|---|---|---|---|---|");
    for router in &routers {
        let best = &router.best;
        println!(
            "| {} | {:.0} | {:.1} | {:.0} | {:.0} | {:.0} | {:.1} |",
            router.name,
            best.per_second,
            best.cpu_each,
            best.megabytes,
            best.cpu_gigabyte,
            best.connect,
            best.ping
        );
    }
}

fn number(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok().filter(|text| !text.is_empty());
    given.map_or(default, |text| text.parse().unwrap())
}

/// Backends, keys and hellos.
struct Bed {
    folder: tempfile::TempDir,
    backends: [SocketAddr; 3],
    plain: [Vec<u8>; 3],
    offering: [Vec<u8>; 3],
    key: EchKey,
}

impl Bed {
    fn new() -> Self {
        let key = in_memory::ech_key(7);
        let pki = Pki::of(&NAMES);
        let hello = |name: &str, with_ech: bool| {
            let mode = with_ech.then(|| offer(&key)).flatten();
            let mut bytes = Vec::new();
            connect(pki.client(mode), name)
                .write_tls(&mut bytes)
                .unwrap();
            bytes
        };
        Self {
            folder: tempfile::tempdir().unwrap(),
            backends: [backend(short), backend(bulk), backend(echo)],
            plain: NAMES.map(|name| hello(name, false)),
            offering: NAMES.map(|name| hello(name, true)),
            key,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn router(&self, name: &str, at: [SocketAddr; 3], ech: bool, child: Option<Child>) -> Router {
        let hellos = if ech { &self.offering } else { &self.plain };
        Router {
            name: name.to_owned(),
            at,
            hellos: hellos.clone(),
            child,
            best: Figures::default(),
        }
    }

    fn direct(&self) -> Router {
        self.router("none: straight to the backend", self.backends, false, None)
    }

    fn ech(&self, program: &Path, offering: bool) -> Router {
        let keys = self.path("keys");
        if !keys.exists() {
            std::fs::create_dir(&keys).unwrap();
            let file = keys.join("key.ech");
            std::fs::write(&file, self.key.to_pem().unwrap()).unwrap();
            #[cfg(unix)]
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))
                .unwrap();
        }
        let mut text = format!(
            "listen = \"127.0.0.1:0\"\nkeys = \"keys\"\npublic = \"{}\"\n\
             [limits]\nhellos_per_address = 1000\nconnections_per_address = 10000\n",
            self.backends[0]
        );
        for table in ["inner_names", "outer_names"] {
            text.push_str(&format!("[{table}]\n"));
            for (name, at) in NAMES.iter().zip(self.backends) {
                text.push_str(&format!("\"{name}\" = \"{at}\"\n"));
            }
        }
        let config = self.path("route.toml");
        std::fs::write(&config, text).unwrap();
        let mut child = Command::new(program)
            .args(["route", "--config"])
            .arg(&config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let at = line.trim().rsplit(' ').next().unwrap().parse().unwrap();
        let name = match offering {
            true => "ech route, ECH opened",
            false => "ech route, name in the clear",
        };
        self.router(name, [at; 3], offering, Some(child))
    }

    /// By the name in the clear, as it is the way to do without ECH.
    fn haproxy(&self) -> Option<Router> {
        let program = found("haproxy")?;
        let at = lab::unused_address();
        let mut text = format!(
            "global\n maxconn 4000\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n \
             timeout server 60s\n option splice-auto\nfrontend names\n bind {at}\n \
             tcp-request inspect-delay 5s\n tcp-request content accept if {{ req.ssl_hello_type 1 }}\n"
        );
        for name in NAMES {
            text.push_str(&format!(
                " use_backend {name} if {{ req.ssl_sni -i {name} }}\n"
            ));
        }
        for (name, at) in NAMES.iter().zip(self.backends) {
            text.push_str(&format!("backend {name}\n server {name} {at}\n"));
        }
        let config = self.path("haproxy.cfg");
        std::fs::write(&config, text).unwrap();
        let child = Command::new(program)
            .arg("-db")
            .arg("-f")
            .arg(&config)
            .spawn();
        Some(self.started("HAProxy, name in the clear", at, child.unwrap()))
    }

    fn nginx(&self) -> Option<Router> {
        let program = found("nginx")?;
        let module = Path::new("/usr/lib/nginx/modules/ngx_stream_module.so");
        if !module.exists() {
            println!("nginx: no stream module; scripts/prepare bench-route installs it");
            return None;
        }
        let at = lab::unused_address();
        let folder = self.folder.path().display();
        let mut map = String::new();
        for (name, at) in NAMES.iter().zip(self.backends) {
            map.push_str(&format!("{name} {at};\n"));
        }
        let text = format!(
            "load_module {};\ndaemon off;\nworker_processes auto;\npid {folder}/nginx.pid;\n\
             error_log {folder}/nginx.log;\nevents {{ worker_connections 4096; }}\n\
             stream {{ map $ssl_preread_server_name $to {{\n{map}}}\n\
             server {{ listen {at}; ssl_preread on; proxy_pass $to; }} }}\n",
            module.display()
        );
        let config = self.path("nginx.conf");
        std::fs::write(&config, text).unwrap();
        let child = Command::new(program).arg("-c").arg(&config).spawn();
        Some(self.started("nginx, name in the clear", at, child.unwrap()))
    }

    fn started(&self, name: &str, at: SocketAddr, child: Child) -> Router {
        let router = self.router(name, [at; 3], false, Some(child));
        let begun = Instant::now();
        while TcpStream::connect(at).is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "{name} does not listen"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        router
    }
}

fn found(program: &str) -> Option<PathBuf> {
    let folders = ["/usr/sbin", "/usr/bin", "/usr/local/sbin"];
    let mut paths = folders.iter().map(|folder| Path::new(folder).join(program));
    let found = paths.find(|path| path.exists());
    if found.is_none() {
        println!("{program}: not here; scripts/prepare bench-route installs it");
    }
    found
}

/// What was measured, the best of all rounds.
#[derive(Default)]
struct Figures {
    per_second: f64,
    cpu_each: f64,
    megabytes: f64,
    cpu_gigabyte: f64,
    connect: f64,
    ping: f64,
}

struct Router {
    name: String,
    /// Where each of [`NAMES`] is.
    at: [SocketAddr; 3],
    hellos: [Vec<u8>; 3],
    child: Option<Child>,
    best: Figures,
}

impl Drop for Router {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            for pid in system::family(child.id()) {
                // Workers end with their master, and may be gone.
                let _ = Command::new("kill")
                    .arg(pid.to_string())
                    .stderr(Stdio::null())
                    .status();
            }
            let _ = child.wait();
        }
    }
}

impl Router {
    fn measure(&mut self, time: Duration, clients: usize) {
        let highest = |best: &mut f64, found: f64| *best = best.max(found);
        let lowest = |best: &mut f64, found: f64| match *best == 0.0 {
            true => *best = found,
            false => *best = best.min(found),
        };
        let before = self.cpu();
        let count = self.connections(time, clients);
        let cpu = self.cpu() - before;
        highest(&mut self.best.per_second, count as f64 / time.as_secs_f64());
        lowest(
            &mut self.best.cpu_each,
            cpu.as_secs_f64() * 1e6 / count as f64,
        );

        let before = self.cpu();
        let took = self.download();
        let cpu = self.cpu() - before;
        highest(
            &mut self.best.megabytes,
            BULK as f64 / 1e6 / took.as_secs_f64(),
        );
        lowest(
            &mut self.best.cpu_gigabyte,
            cpu.as_secs_f64() * 1e3 * 1e9 / BULK as f64,
        );

        let mut connects: Vec<Duration> = (0..500).map(|_| self.connect_once()).collect();
        lowest(&mut self.best.connect, median(&mut connects));
        let ping = median(&mut self.pings());
        lowest(&mut self.best.ping, ping);
    }

    /// The CPU time of its processes so far.
    fn cpu(&self) -> Duration {
        let Some(child) = &self.child else {
            return Duration::ZERO;
        };
        system::cpu_time(child.id())
    }

    fn open(&self, which: usize) -> TcpStream {
        let mut stream = TcpStream::connect(self.at[which]).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(&self.hellos[which]).unwrap();
        stream.read_exact(&mut [0; ANSWER.len()]).unwrap();
        stream
    }

    fn connect_once(&self) -> Duration {
        let begun = Instant::now();
        self.open(0);
        begun.elapsed()
    }

    fn connections(&self, time: Duration, clients: usize) -> u64 {
        let (over, count) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..clients {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        self.open(0);
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            std::thread::sleep(time);
            over.store(true, Ordering::Relaxed);
        });
        count.into_inner()
    }

    fn download(&self) -> Duration {
        let mut stream = self.open(1);
        let begun = Instant::now();
        let mut buffer = vec![0; 1 << 18];
        let mut got = 0;
        loop {
            match stream.read(&mut buffer).unwrap() {
                0 => break,
                len => got += len,
            }
        }
        assert_eq!(got, BULK);
        begun.elapsed()
    }

    fn pings(&self) -> Vec<Duration> {
        let mut stream = self.open(2);
        let ping = |_| {
            let begun = Instant::now();
            stream.write_all(&[1]).unwrap();
            stream.read_exact(&mut [0]).unwrap();
            begun.elapsed()
        };
        (0..PINGS).map(ping).collect()
    }
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6
}

/// The beginning of a ServerHello that is no HelloRetryRequest, as long as real ones are.
const ANSWER: [u8; 95] = {
    let mut answer = [7; 95];
    let head = [22, 3, 3, 0, 90, 2, 0, 0, 86, 3, 3];
    let mut at = 0;
    while at < head.len() {
        answer[at] = head[at];
        at += 1;
    }
    answer
};

/// A backend that serves each connection in a thread of its own.
fn backend(serve: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut stream = stream;
                let _ = stream.set_nodelay(true);
                if matches!(stream.read(&mut [0; 4096]), Ok(1..))
                    && stream.write_all(&ANSWER).is_ok()
                {
                    serve(stream);
                }
            });
        }
    });
    address
}

fn short(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 64]);
}

fn bulk(mut stream: TcpStream) {
    let data = vec![7; 1 << 18];
    for _ in 0..BULK / data.len() {
        if stream.write_all(&data).is_err() {
            return;
        }
    }
}

fn echo(mut stream: TcpStream) {
    let mut byte = [0; 1];
    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
}
