//! `ech testbed`: an ECH internet on loopback until Ctrl-C, or in the background until `kill`.

use std::path::{Path, PathBuf};

use echkit_testbed::{Case, Inspector, Ports, ProxyCase, ProxyWay, Testbed, list, proxy_list};
use serde_json::{Value, json};

use crate::cli::TestbedArgs;
use crate::failure::Failure;
use crate::output;
use pid_file::PidFile;

mod background;
mod pid_file;

pub(crate) use background::detach;

/// The port of captures over HTTP, from the first one on.
const INSPECTOR: u16 = 9;

pub(crate) async fn run(args: TestbedArgs) -> Result<(), Failure> {
    if args.list {
        return show_list(args.json);
    }
    if args.detached {
        background::leave_terminal()?;
    }
    let mut builder = Testbed::builder().more_hosts(args.more_hosts);
    if let Some(port) = args.port {
        builder = builder.ports(Ports::From(port));
    }
    if !args.only.is_empty() {
        builder = builder.only(args.only);
    }
    let testbed = builder
        .start()
        .await
        .map_err(|error| Failure::usage(format!("cannot start the testbed: {error}")))?;
    let inspector = inspect(&testbed, args.port).await?;
    // Before the testbed is announced, so that a signal sent right after the announcement is
    // handled.
    let stop = Stop::listen()?;
    let ca = CaFile::write(args.ca_file, testbed.ca_pem())?;
    let _pid_file = args.pid_file.map(PidFile::write).transpose()?;
    let text = match args.json {
        true => output::json_text(&document(&testbed, &ca, &inspector)),
        false => text(&testbed, &ca, &inspector, args.detached),
    };
    match args.detached {
        true => background::serves(text.as_bytes())?,
        false => output::stdout(text.as_bytes())?,
    }
    stop.wait().await
}

/// Serves captures over HTTP. Its place is the last before those of the cases' servers.
async fn inspect(testbed: &Testbed, first: Option<u16>) -> Result<Inspector, Failure> {
    let port = first.map_or(0, |first| first.saturating_add(INSPECTOR));
    let served = testbed.inspect(port).await;
    served.map_err(|error| Failure::usage(format!("cannot start the testbed: {error}")))
}

fn show_list(json: bool) -> Result<(), Failure> {
    let cases = list();
    if json {
        return output::json(&json!({ "cases": cases, "proxies": proxy_list() }));
    }
    let rows: Vec<Vec<String>> = cases
        .iter()
        .map(|case| {
            vec![
                case.name.clone(),
                format!("exit {}", case.expect.prefer.exit_code),
                format!("exit {}", case.expect.require.exit_code),
                case.about.clone(),
            ]
        })
        .collect();
    let head = ["CASE", "PREFER", "REQUIRE", "WHAT IT IS"]
        .map(str::to_owned)
        .to_vec();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let proxies = proxy_list();
    let head = ["PROXY", "BY", "EXIT", "WHAT IT DOES"]
        .map(str::to_owned)
        .to_vec();
    let proxies: Vec<Vec<String>> = std::iter::once(head)
        .chain(proxies.iter().map(proxy_row))
        .collect();
    let text = format!(
        "{}\n{}",
        output::text_table(&rows),
        output::text_table(&proxies)
    );
    output::stdout(text.as_bytes())
}

fn proxy_row(case: &ProxyCase) -> Vec<String> {
    let codes = |code: fn(&ProxyWay) -> u8| {
        let mut codes: Vec<String> = case.ways.iter().map(|way| code(way).to_string()).collect();
        codes.dedup();
        codes.join(", ")
    };
    let (by_address, by_name) = (
        codes(|way| way.exit_code),
        codes(|way| way.exit_code_with_names),
    );
    let exit = match by_name == by_address {
        true => format!("exit {by_address}"),
        false => format!("exit {by_address}; {by_name} with --proxy-resolves"),
    };
    let schemes: Vec<&str> = case.ways.iter().map(|way| way.scheme.as_str()).collect();
    vec![
        case.name.clone(),
        schemes.join(", "),
        exit,
        case.about.clone(),
    ]
}

/// Where the CA's certificate was written; a temporary one goes with the testbed.
pub(super) struct CaFile {
    path: PathBuf,
    temporary: bool,
}

impl CaFile {
    pub(super) fn write(path: Option<PathBuf>, pem: &str) -> Result<Self, Failure> {
        let temporary = path.is_none();
        let path = path.unwrap_or_else(|| {
            std::env::temp_dir().join(format!("ech-testbed-{}-ca.pem", std::process::id()))
        });
        std::fs::write(&path, pem).map_err(|error| Failure::unwritten(&path, error))?;
        Ok(Self { path, temporary })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for CaFile {
    fn drop(&mut self) {
        if self.temporary {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn document(testbed: &Testbed, ca: &CaFile, inspector: &Inspector) -> Value {
    json!({
        "pid": std::process::id(),
        "inspect": inspector.url(),
        "dns": testbed.dns_uri(),
        "dns_tcp": testbed.dns_tcp_uri(),
        "dot": testbed.dot_uri(),
        "doh": testbed.doh_uri(),
        "doq": testbed.doq_uri(),
        "doh3": testbed.doh3_uri(),
        "cacert": ca.path,
        "cases": testbed.cases().iter().map(case_json).collect::<Vec<_>>(),
        "proxies": testbed.proxy_cases(),
    })
}

fn case_json(case: &Case) -> Value {
    json!({
        "name": case.name,
        "about": case.about,
        "url": case.url,
        "more_urls": case.more_urls,
        "public_name": case.public_name,
        "expect": case.expect,
    })
}

/// For programs that are not ours: where the names and captures are.
fn for_others(testbed: &Testbed, ca: &CaFile, inspector: &Inspector) -> String {
    let url = inspector.url();
    let address = testbed.dns_address();
    let example = testbed.cases().first().map_or_else(String::new, |case| {
        let (host, port, ca) = (&case.host, case.port, ca.path.display());
        format!(
            "\n  curl --cacert {ca} --resolve {host}:{port}:127.0.0.1 {}",
            case.url
        )
    });
    format!(
        "\nOther programs: the names are known to these resolvers alone ({address}, UDP and TCP). One that \
         takes no\nresolver is told the address, or finds the names in /etc/hosts with the lines of \
         {url}/hosts{example}\nWhat clients sent, for tests in any language: {url}/captures \
         ({url} says more)\n\n"
    )
}

fn text(testbed: &Testbed, ca: &CaFile, inspector: &Inspector, detached: bool) -> String {
    let end = match (detached, std::process::id()) {
        (true, id) => format!("It runs in the background as process {id}. To end it:  kill {id}"),
        (false, _) => "Ctrl-C ends it.".to_owned(),
    };
    let end = for_others(testbed, ca, inspector) + &end;
    let style = output::Style::stdout();
    let rows: Vec<Vec<String>> = testbed
        .cases()
        .iter()
        .map(|case| vec![case.name.clone(), case.url.clone(), case.about.clone()])
        .collect();
    let proxies = testbed.proxy_cases();
    let row = |case: &ProxyCase| {
        let uri = case.ways.first().and_then(|way| way.uri.clone());
        vec![
            case.name.clone(),
            uri.unwrap_or_default(),
            case.about.clone(),
        ]
    };
    let proxies: Vec<Vec<String>> = proxies.iter().map(row).collect();
    let first = testbed.cases().first().map_or("", |case| case.url.as_str());
    format!(
        "{}\n{}\n{}\n{}\nDNS  {}\nDoT  {}\nDoH  {}\nDoQ  {}\nDoH3 {}\nCA   {}\n\nTry:  ech get --dns {} --cacert {} {}\n{end}\n",
        style.bold("An ECH internet on loopback"),
        output::text_table(&rows),
        style.bold("Proxies, for -x; by http:// also as socks5://"),
        output::text_table(&proxies),
        testbed.dns_uri(),
        testbed.dot_uri(),
        testbed.doh_uri(),
        testbed.doq_uri(),
        testbed.doh3_uri(),
        ca.path.display(),
        testbed.dns_uri(),
        ca.path.display(),
        first,
    )
}

/// Ctrl-C, or a request to terminate.
#[cfg(unix)]
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Stop {
    /// From now on signals are remembered.
    fn listen() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).map_err(cannot_wait);
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn wait(mut self) -> Result<(), Failure> {
        tokio::select! {
            _ = self.interrupt.recv() => Ok(()),
            _ = self.terminate.recv() => Ok(()),
        }
    }
}

#[cfg(not(unix))]
struct Stop;

#[cfg(not(unix))]
impl Stop {
    fn listen() -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn wait(self) -> Result<(), Failure> {
        tokio::signal::ctrl_c().await.map_err(cannot_wait)
    }
}

fn cannot_wait(error: std::io::Error) -> Failure {
    Failure::system(format!("cannot wait for signals: {error}"))
}
