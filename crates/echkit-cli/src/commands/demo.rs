//! `ech demo`: the same page without and with ECH, side by side with what an eavesdropper read;
//! then a stale key and its retry. Ends with an error if any of it is not as it should be.

use std::path::Path;

use echkit::dns::{Resolver, ResolverOptions};
use echkit::policy::EchMode;
use echkit::report::{EchSource, EchStatus};
use echkit::tls::{ClientTls, Trust};
use echkit::{Client, Report};
use echkit_proto::hello::{ClientHello, HelloReader};
use echkit_testbed::{Capture, Page, ServerWord, Testbed};
use serde_json::{Value, json};

use crate::cli::DemoArgs;
use crate::failure::Failure;
use crate::output::{self, Style};

mod hexdump;

/// Far above any hello that is sent.
const MAX_HELLO: usize = 1 << 17;

pub(crate) async fn run(args: DemoArgs) -> Result<(), Failure> {
    let testbed = Testbed::builder()
        .only(["nominal", "stale"])
        .start()
        .await
        .map_err(|error| Failure::system(format!("cannot start the testbed: {error}")))?;
    let scenes = [
        scene(&testbed, "nominal", EchMode::Off, "without ECH").await?,
        scene(&testbed, "nominal", EchMode::Require, "with ECH").await?,
        scene(&testbed, "stale", EchMode::Require, "with a stale key").await?,
    ];
    let problems = check(&scenes);
    let document = json!({
        "scenes": scenes.iter().map(Scene::json).collect::<Vec<_>>(),
        "problems": problems,
    });
    if !args.json {
        output::stdout(text(&scenes).as_bytes())?;
    }
    match problems.is_empty() {
        true if args.json => output::json(&document),
        true => {
            let style = Style::stdout();
            let good = style.good("All of it is as it should be.");
            output::stdout(format!("{good}\n{}", next_steps()).as_bytes())
        }
        false => Err(Failure::check(problems.join("; ")).with_document(document)),
    }
}

/// One fetch, and everything that was seen of it.
struct Scene {
    title: &'static str,
    url: String,
    name: String,
    public_name: String,
    report: Report,
    page: Page,
    captures: Vec<Capture>,
}

async fn scene(
    testbed: &Testbed,
    case: &str,
    mode: EchMode,
    title: &'static str,
) -> Result<Scene, Failure> {
    let missing = || Failure::system(format!("the testbed does not serve {case}"));
    let case = testbed.case(case).ok_or_else(missing)?;
    let url = format!("{}?format=json", case.url);
    let resolver = Resolver::from_uri(&testbed.dns_uri(), &ResolverOptions::default())
        .map_err(|error| Failure::system(error.to_string()))?;
    let client = Client::builder()
        .ech(mode)
        .resolver(resolver)
        .tls(ClientTls::builder().trust(Trust::certificates([testbed.ca_der()])?))
        .build()?;
    testbed.clear_captures();
    let mut response = client.get(&url).send().await?;
    let body = response.bytes().await?;
    let report = response.report();
    let page = serde_json::from_slice(&body)
        .map_err(|error| Failure::system(format!("{url} is not the status page: {error}")))?;
    // The captures are whole once the connections are closed.
    drop((response, client));
    testbed.quiet().await;
    Ok(Scene {
        title,
        url: case.url.clone(),
        name: case.host.clone(),
        public_name: case.public_name.clone(),
        report,
        page,
        captures: testbed.captures(),
    })
}

impl Scene {
    /// Whether the name can be read in anything that the client sent over TLS.
    fn name_was_seen(&self) -> bool {
        self.captures
            .iter()
            .any(|capture| capture.contains(&self.name))
    }

    fn bytes(&self) -> usize {
        self.captures
            .iter()
            .map(|capture| capture.bytes.len())
            .sum()
    }

    /// The first hello on the wire.
    fn hello(&self) -> Option<ClientHello> {
        let bytes = &self.captures.first()?.bytes;
        let (_, message) = HelloReader::new(MAX_HELLO).read(bytes).ok()?;
        ClientHello::parse(message?).ok()
    }

    fn on_the_wire(&self) -> String {
        let hello = self.hello();
        let name = hello.as_ref().and_then(|hello| hello.server_name());
        name.unwrap_or("no name").to_owned()
    }

    fn json(&self) -> Value {
        json!({
            "title": self.title,
            "url": self.url,
            "report": self.report,
            "server": self.page,
            "eavesdropper": {
                "connections": self.captures.len(),
                "bytes": self.bytes(),
                "server_name": self.on_the_wire(),
                "name_found": self.name_was_seen(),
                "hello": self.hello().map(|h| data_encoding::HEXLOWER.encode(h.bytes())),
            },
        })
    }
}

/// What is not as it should be.
fn check(scenes: &[Scene; 3]) -> Vec<String> {
    let [plain, hidden, stale] = scenes;
    let mut problems = Vec::new();
    let mut expect = |holds: bool, scene: &Scene, what: &str| {
        if !holds {
            problems.push(format!("{}: {what}", scene.title));
        }
    };
    expect(
        plain.name_was_seen(),
        plain,
        "the name should have been readable on the wire",
    );
    expect(
        plain.report.ech.status == EchStatus::NotOffered,
        plain,
        "ECH should not be offered",
    );
    expect(
        plain.page.ech.status == ServerWord::NotOffered,
        plain,
        "the server should have seen no ECH",
    );
    for scene in [hidden, stale] {
        expect(
            !scene.name_was_seen(),
            scene,
            "the name was readable on the wire",
        );
        expect(
            scene.on_the_wire() == scene.public_name,
            scene,
            "the public name should be shown",
        );
        expect(
            scene.report.ech.status == EchStatus::Accepted,
            scene,
            "ECH should be accepted",
        );
        expect(
            scene.page.ech.status == ServerWord::Accepted,
            scene,
            "the server should say that it accepted ECH",
        );
        expect(
            scene.page.ech.inner_sni.as_deref() == Some(&scene.name),
            scene,
            "the server should have been asked for the hidden name",
        );
    }
    expect(
        hidden.report.ech.retries == 0,
        hidden,
        "no retry should be needed",
    );
    expect(
        stale.report.ech.retries == 1,
        stale,
        "one retry should be needed",
    );
    expect(
        stale.captures.len() == 2,
        stale,
        "there should be two connections",
    );
    problems
}

fn text(scenes: &[Scene; 3]) -> String {
    let [plain, hidden, stale] = scenes;
    let style = Style::stdout();
    let mut out = format!(
        "{}\n\n{}\n",
        style.bold("One page, fetched twice: what an eavesdropper reads"),
        table(&[plain, hidden], style)
    );
    for scene in [plain, hidden] {
        out.push_str(&excerpt(scene, style));
    }
    out.push_str(&format!(
        "{}\n\n{}\n",
        style.bold("The key in DNS is out of date: the server rejects it and hands back its own"),
        table(&[stale], style)
    ));
    out
}

/// Where the key came from under which the name was hidden.
fn key_source(source: EchSource) -> &'static str {
    match source {
        EchSource::None => "none used",
        EchSource::Dns => "DNS, where the site publishes it",
        EchSource::Retry => "the server, after it rejected the one from DNS",
        other => other.as_str(),
    }
}

/// What to try once the demo has been seen. `ech` may not be in the path, and may be a script that an
/// interpreter runs.
fn next_steps() -> String {
    let program = std::env::args()
        .take(2)
        .find(|started| {
            Path::new(started)
                .file_name()
                .is_some_and(|name| name == "ech")
        })
        .unwrap_or_else(|| "ech".to_owned());
    format!(
        "\nTry next:\n\
         \x20 {program} testbed                    serve this and some sixty other cases, to fetch from\n\
         \x20 {program} lookup HOST                whether a site publishes a key for ECH\n\
         \x20 {program} get -v https://HOST/       fetch a page, and see which name was sent in the clear\n"
    )
}

fn table(scenes: &[&Scene], style: Style) -> String {
    type Cell = fn(&Scene) -> String;
    let rows: [(&str, Cell); 9] = [
        ("", |s| s.title.to_owned()),
        ("page fetched", |s| s.url.clone()),
        ("ECH key from", |s| {
            key_source(s.report.ech.source).to_owned()
        }),
        ("connections made", |s| s.captures.len().to_string()),
        ("name that the network saw", Scene::on_the_wire),
        ("the page's own name", |s| match s.name_was_seen() {
            true => format!("FOUND in the {} bytes sent", s.bytes()),
            false => format!("not found in the {} bytes sent", s.bytes()),
        }),
        ("ECH, says the client", |s| {
            s.report.ech.status.to_string().replace('_', " ")
        }),
        ("ECH, says the server", |s| {
            let word = json!(s.page.ech.status);
            word.as_str().unwrap_or_default().replace('_', " ")
        }),
        ("name that the server got", |s| {
            let ech = &s.page.ech;
            let sni = ech.inner_sni.as_deref().or(ech.outer_sni.as_deref());
            sni.unwrap_or("nothing").to_owned()
        }),
    ];
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|(name, cell)| {
            let cells = scenes.iter().map(|scene| cell(scene));
            std::iter::once((*name).to_owned()).chain(cells).collect()
        })
        .collect();
    let plain = output::table(&rows);
    plain
        .replace("FOUND", &style.bad("FOUND"))
        .replace("not found", &style.good("not found"))
}

/// The part of the first hello around the name that it shows.
fn excerpt(scene: &Scene, style: Style) -> String {
    let Some(hello) = scene.hello() else {
        return String::new();
    };
    let shown = hello.server_name().unwrap_or_default();
    format!(
        "{} (bytes of the ClientHello around its server_name)\n{}\n",
        style.bold(scene.title),
        hexdump::around(hello.bytes(), shown.as_bytes(), style)
    )
}
