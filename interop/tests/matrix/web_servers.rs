//! Web servers as operators run them: Caddy, which has ECH, and Debian's nginx, which has none.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use echkit::policy::EchMode;
use echkit_interop::Process;
use echkit_proto::key::{EchKey, KeyParams};
use echkit_server::write_caddy_key;
use echkit_testbed::{Blueprint, Identity, Testbed};
use tokio::runtime::Runtime;

use crate::cell::{Cell, Lab, Outcome};
use crate::checks::{OF_EVERY_PEER, StandIn, finds};
use crate::testbed::{client, fetch, text};

/// Far above what a server needs on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a server is started anew because another program took its port.
const STARTS: usize = 5;

pub(crate) fn cells() -> Vec<Cell> {
    vec![
        Cell::new("caddy_server::accepts_our_client", |lab| {
            accepted(|blueprint| caddy(lab, blueprint, &blueprint.keys))
        }),
        // The configuration that Caddy chooses by the outer name has no ECH keys to send.
        Cell::new("check_caddy_server::with_the_published_key", |lab| {
            let mut expected = set(&["ECH-RETRY-MISSING"]);
            expected.extend(OF_EVERY_PEER);
            finds("nominal", &expected, |blueprint| {
                caddy(lab, blueprint, &blueprint.keys)
            })
        }),
        Cell::new("check_caddy_server::with_another_key", |lab| {
            finds("nominal", &set(&["ECH-DISABLED"]), |blueprint| {
                let params = KeyParams::new(&blueprint.public_name).map_err(text)?;
                caddy(lab, blueprint, &[EchKey::generate(&params).map_err(text)?])
            })
        }),
        Cell::new("check_nginx_server::without_ech", |lab| {
            finds("http11-only", &set(&["ECH-DISABLED"]), |blueprint| {
                nginx(lab, blueprint, "TLSv1.2 TLSv1.3")
            })
        }),
        // What nginx before 1.23.4 speaks when it is not told.
        Cell::new("check_nginx_server::without_tls_1_3", |lab| {
            finds("http11-only", &set(&["ECH-TLS13-MISSING"]), |blueprint| {
                nginx(lab, blueprint, "TLSv1.2")
            })
        }),
    ]
}

fn set(ids: &[&'static str]) -> BTreeSet<&'static str> {
    ids.iter().copied().collect()
}

/// A server that runs until this is dropped.
pub(crate) struct WebServer(Process);

impl StandIn for WebServer {
    fn words(&self) -> String {
        self.0.output()
    }
}

/// Fetches a case of the testbed whose server is this one: ECH must be accepted.
fn accepted<S: StandIn>(
    start: impl FnOnce(&Blueprint) -> Result<(SocketAddr, S), String>,
) -> Outcome {
    let runtime = Runtime::new().map_err(text)?;
    runtime.block_on(async {
        let builder = Testbed::builder().only(["minimal"]);
        let testbed = builder.start().await.map_err(text)?;
        let blueprint = testbed.blueprint("minimal").map_err(text)?;
        let (address, at) = start(&blueprint)?;
        testbed.hand_over("minimal", address).map_err(text)?;
        let case = testbed.case("minimal").ok_or("the case is served")?;
        let fetched = fetch(&client(&testbed, EchMode::Require)?, case).await?;
        let status = &fetched.report["ech"]["status"];
        match status == "accepted" && fetched.body.as_deref() == Some("hidden") {
            true => Ok(()),
            false => Err(format!("{:#}\n{}", fetched.report, at.words())),
        }
    })
}

/// Caddy with these ECH keys in its storage, which it takes instead of making one.
fn caddy(
    lab: &Lab,
    blueprint: &Blueprint,
    keys: &[EchKey],
) -> Result<(SocketAddr, WebServer), String> {
    let folder = lab.folder()?;
    let storage = folder.join("storage");
    for key in keys {
        write_caddy_key(&storage, key, false).map_err(text)?;
    }
    let sites = Sites::write(&folder, blueprint)?;
    let mut arguments: Vec<OsString> = Vec::new();
    for (name, sub) in [("XDG_DATA_HOME", "data"), ("XDG_CONFIG_HOME", "config")] {
        let mut variable = OsString::from(format!("{name}="));
        variable.push(folder.join(sub));
        arguments.push(variable);
    }
    let configuration = folder.join("Caddyfile");
    arguments.extend([lab.peers.caddy().into(), "run".into(), "--adapter".into()]);
    arguments.extend(["caddyfile".into(), "--config".into()]);
    arguments.push(configuration.clone().into());
    start(|port| {
        let (host, public) = (&blueprint.host, &blueprint.public_name);
        let site = |name: &str, (chain, key): &(PathBuf, PathBuf), body: &str| {
            let (chain, key) = (chain.display(), key.display());
            format!(
                "{name}:{port} {{\n bind 127.0.0.1\n tls {chain} {key}\n respond \"{body}\"\n}}\n"
            )
        };
        let text_of = format!(
            "{{\n admin off\n persist_config off\n auto_https disable_redirects\n https_port {port}\n \
             storage file_system {}\n ech {public}\n servers {{\n  protocols h1 h2\n }}\n}}\n{}{}",
            storage.display(),
            site(host, &sites.secret, "hidden"),
            site(public, &sites.public, "public"),
        );
        fs::write(&configuration, text_of).map_err(text)?;
        Process::start(Path::new("/usr/bin/env"), &arguments, None).map_err(text)
    })
}

/// Debian's nginx, whose OpenSSL knows nothing of ECH.
fn nginx(
    lab: &Lab,
    blueprint: &Blueprint,
    versions: &str,
) -> Result<(SocketAddr, WebServer), String> {
    let folder = lab.folder()?;
    fs::create_dir(folder.join("logs")).map_err(text)?;
    let sites = Sites::write(&folder, blueprint)?;
    let program = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"]
        .map(Path::new)
        .into_iter()
        .find(|path| path.is_file())
        .ok_or("nginx is not there; run scripts/prepare peers, or leave the matrix out with ECHKIT_INTEROP=skip")?;
    let configuration = folder.join("nginx.conf");
    start(|port| {
        let site = |name: &str, (chain, key): &(PathBuf, PathBuf)| {
            let (chain, key) = (chain.display(), key.display());
            format!(
                " server {{ listen 127.0.0.1:{port} ssl; server_name {name}; ssl_certificate {chain}; \
                 ssl_certificate_key {key}; location / {{ return 200 hello; }} }}\n"
            )
        };
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!(" {kind}_temp_path {};\n", folder.join(kind).display()))
            .concat();
        let text_of = format!(
            "daemon off;\nworker_processes 1;\nerror_log stderr notice;\npid {};\nevents {{}}\nhttp {{\n \
             access_log off;\n ssl_protocols {versions};\n{temporary}{}{}}}\n",
            folder.join("pid").display(),
            site(&blueprint.public_name, &sites.public),
            site(&blueprint.host, &sites.secret),
        );
        fs::write(&configuration, text_of).map_err(text)?;
        let arguments = [
            "-p".into(),
            folder.clone().into(),
            "-c".into(),
            configuration.clone().into(),
        ];
        Process::start(program, &arguments, None).map_err(text)
    })
}

/// Starts a server that cannot choose a port itself. Between this choice and its own listening
/// another program may take the port: then it ends, and another one is chosen.
fn start(
    mut at: impl FnMut(u16) -> Result<Process, String>,
) -> Result<(SocketAddr, WebServer), String> {
    let mut said = String::new();
    for _ in 0..STARTS {
        let free = TcpListener::bind("127.0.0.1:0").map_err(text)?;
        let address = free.local_addr().map_err(text)?;
        drop(free);
        let mut process = at(address.port())?;
        // What they say when they are ready differs from version to version.
        let until = Instant::now() + PATIENCE;
        while process.is_running() && Instant::now() < until {
            if TcpStream::connect(address).is_ok() {
                return Ok((address, WebServer(process)));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        said = process.output();
    }
    Err(format!("the server did not start:\n{said}"))
}

/// Chain and key of each site, in files.
struct Sites {
    public: (PathBuf, PathBuf),
    secret: (PathBuf, PathBuf),
}

impl Sites {
    fn write(folder: &Path, blueprint: &Blueprint) -> Result<Self, String> {
        let write = |name: &str, identity: &Identity| {
            let chain = folder.join(format!("{name}.pem"));
            let key = folder.join(format!("{name}.key"));
            fs::write(&chain, &identity.certificate).map_err(text)?;
            fs::write(&key, &identity.key).map_err(text)?;
            Ok::<_, String>((chain, key))
        };
        Ok(Self {
            public: write("public", &blueprint.public)?,
            secret: write("secret", &blueprint.site)?,
        })
    }
}
