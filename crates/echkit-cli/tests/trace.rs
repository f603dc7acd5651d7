//! `ech trace`, and `--pcap` of each command that connects.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use echkit_proto::key_log::LoggedOffers;
use echkit_test::hello::client_hellos;
use etherparse::{SlicedPacket, TransportSlice};
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, PcapBlockOwned, PcapError, PcapNGReader};
use serde_json::Value;

mod bed;

use bed::{Bed, run_with};

/// A capture file, read by others' code.
struct Capture {
    key_log: String,
    /// What the client of each connection sent, in the order of the first packets.
    sent: Vec<(u16, Vec<u8>)>,
}

fn read(path: &Path, server: u16) -> Capture {
    let file = std::fs::File::open(path).unwrap();
    let mut reader = PcapNGReader::new(1 << 16, file).unwrap();
    let mut capture = Capture {
        key_log: String::new(),
        sent: Vec::new(),
    };
    loop {
        match reader.next() {
            Ok((taken, block)) => {
                match block {
                    PcapBlockOwned::NG(Block::DecryptionSecrets(block)) => {
                        let secrets = &block.data[..block.secrets_len as usize];
                        capture.key_log = String::from_utf8(secrets.to_vec()).unwrap();
                    }
                    PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                        let data = &packet.data[..packet.caplen as usize];
                        let sliced = SlicedPacket::from_ip(data).unwrap();
                        let Some(TransportSlice::Tcp(tcp)) = sliced.transport else {
                            panic!("not TCP");
                        };
                        if tcp.destination_port() == server {
                            let port = tcp.source_port();
                            let known = capture.sent.iter().position(|(other, _)| *other == port);
                            let at = known.unwrap_or_else(|| {
                                capture.sent.push((port, Vec::new()));
                                capture.sent.len() - 1
                            });
                            capture.sent[at].1.extend_from_slice(tcp.payload());
                        }
                    }
                    _ => {}
                }
                reader.consume(taken);
            }
            Err(PcapError::Eof) => return capture,
            Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// What the cases' servers received on each connection, once all of them have ended.
async fn received(bed: &Bed) -> Vec<Vec<u8>> {
    loop {
        let captures = bed.testbed.captures();
        if captures.iter().all(|capture| capture.ended) {
            return captures.into_iter().map(|capture| capture.bytes).collect();
        }
        tokio::task::yield_now().await;
    }
}

fn port(bed: &Bed, case: &str) -> u16 {
    let url = bed.url(case);
    let digits = url.trim_end_matches('/').rsplit(':').next().unwrap();
    digits.parse().unwrap()
}

/// Runs tshark, where it is installed. `scripts/prepare capture` installs it, and continuous
/// integration demands it.
fn tshark(arguments: &[&str]) -> Option<String> {
    match Command::new("tshark").args(arguments).output() {
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{errors}");
            Some(String::from_utf8(output.stdout).unwrap())
        }
        Err(error) => {
            let required = std::env::var_os("ECHKIT_TSHARK").is_some_and(|set| set == "required");
            assert!(!required, "ECHKIT_TSHARK=required, and tshark: {error}");
            eprintln!("skipped: tshark is not installed; run scripts/prepare capture");
            None
        }
    }
}

const CASES: [&str; 4] = ["nominal", "stale", "hrr", "stale-hrr"];

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_of_its_own_opens_the_inner_hello_and_is_not_malformed() {
    let bed = Bed::start(&CASES).await;
    for case in CASES {
        let (url, pcap) = (bed.url(case), bed.path(case));
        let pcap_text = pcap.to_str().unwrap();
        let ended = bed.ech(&["trace", "--pcap", pcap_text, &url]).await;
        assert_eq!(ended.code, 0, "{case}: {}", ended.stderr);

        let capture = read(&pcap, port(&bed, case));
        let received = received(&bed).await;
        assert_eq!(capture.sent.len(), received.len(), "{case}");
        let offers = LoggedOffers::parse(&capture.key_log);
        let name = format!("{case}.ech.test");
        for ((_, sent), received) in capture.sent.iter().zip(&received) {
            // The process ends after it has written the file.
            assert!(
                received.starts_with(sent),
                "{case}: what the server received"
            );
            let hellos = client_hellos(sent);
            let mut opener = offers.opener(&hellos[0]).unwrap().unwrap();
            let inner = opener.open(&hellos[0]).unwrap().inner;
            assert_eq!(inner.server_name(), Some(name.as_str()));
            assert_eq!(hellos[0].server_name(), Some("public.ech.test"));
        }
        let text = String::from_utf8_lossy(&received.concat()).to_ascii_lowercase();
        assert!(!text.contains(&name), "{case}");

        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&pcap).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }

        let expert = "_ws.malformed || _ws.expert.severity >= 0x00600000 || tcp.analysis.flags";
        let decode = format!("tcp.port=={},tls", port(&bed, case));
        let read = ["-r", pcap_text, "-d", decode.as_str()];
        if let Some(shown) = tshark(&[&read[..], &["-Y", expert]].concat()) {
            assert_eq!(shown, "", "{case}");
            let names = ["-T", "fields", "-e", "tls.handshake.extensions_server_name"];
            let hello = ["-Y", "tls.handshake.type == 1"];
            let shown = tshark(&[&read[..], &hello, &names].concat()).unwrap();
            let shown: Vec<&str> = shown.lines().collect();
            let sent = capture
                .sent
                .iter()
                .map(|(_, sent)| client_hellos(sent).len());
            assert_eq!(shown, vec!["public.ech.test"; sent.sum()], "{case}");
        }
        bed.testbed.clear_captures();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn get_and_check_write_captures_too_and_failures_as_well() {
    let bed = Bed::start(&["nominal", "stale-wrong-name"]).await;
    let pcap = bed.path("capture");
    let pcap_text = pcap.to_str().unwrap();
    let good = bed.url("nominal");
    let ended = bed.ech(&["get", "--pcap", pcap_text, &good]).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let sent = read(&pcap, port(&bed, "nominal")).sent.remove(0).1;
    assert!(received(&bed).await[0].starts_with(&sent) && !client_hellos(&sent).is_empty());

    let bad = bed.url("stale-wrong-name");
    let ended = bed.ech(&["get", "--pcap", pcap_text, &bad]).await;
    assert_eq!(ended.code, 60, "{}", ended.stderr);
    let capture = read(&pcap, port(&bed, "stale-wrong-name"));
    assert_eq!(capture.sent.len(), 1);
    assert!(capture.key_log.contains("ECH_SECRET "));

    bed.testbed.clear_captures();
    let ended = bed
        .ech(&["check", "--private", "--pcap", pcap_text, &good])
        .await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let capture = read(&pcap, port(&bed, "nominal"));
    assert_eq!(capture.sent.len(), bed.testbed.captures().len());
    assert!(capture.sent.len() > 3);

    let nowhere = bed.path("none/capture");
    let nowhere = nowhere.to_str().unwrap();
    let ended = bed.ech(&["get", "--pcap", nowhere, &good]).await;
    assert_eq!(ended.code, 23);
    assert!(ended.stderr.contains(nowhere), "{}", ended.stderr);
    let ended = bed.ech(&["get", "--pcap", nowhere, &bad]).await;
    assert_eq!(ended.code, 60, "how the fetch ended is what counts");
    assert!(ended.stderr.contains(nowhere), "{}", ended.stderr);
}

/// A pcap file of Ethernet packets, each with one of these payloads.
fn ethernet(segments: &[(u32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 0xffff, 1] {
        out.extend(word.to_le_bytes());
    }
    for (sequence, payload) in segments {
        let mut packet = Vec::new();
        etherparse::PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv6([1; 16], [2; 16], 64)
            .tcp(50_000, 443, *sequence, 1000)
            .ack(1)
            .write(&mut packet, payload)
            .unwrap();
        for word in [0, 0, packet.len() as u32, packet.len() as u32] {
            out.extend(word.to_le_bytes());
        }
        out.extend(packet);
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn decode_lists_the_hellos_of_a_capture_and_says_what_cannot_be_told() {
    let bed = Bed::start(&["hrr", "no-record"]).await;
    let (pcap, log) = (bed.path("capture"), bed.path("secrets"));
    let (pcap_text, log_text) = (pcap.to_str().unwrap(), log.to_str().unwrap());
    let hrr = bed.url("hrr");
    let trace = ["trace", "--pcap", pcap_text, &hrr];
    let (dns, ca) = (bed.testbed.dns_uri(), bed.path("ca.pem"));
    let trace = [
        &trace[..],
        &["--dns", &dns, "--cacert", ca.to_str().unwrap()],
    ]
    .concat();
    let ended = run_with(&trace, &[("SSLKEYLOGFILE", log_text)]).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);

    // The file's own secrets.
    let ended = run_with(&["decode", "--pcap", pcap_text, "--json"], &[]).await;
    let document = ended.json();
    assert_eq!(document["kind"], "capture");
    let hellos = document["hellos"].as_array().unwrap();
    assert_eq!(hellos.len(), 2);
    for (number, hello) in (1..).zip(hellos) {
        assert_eq!(hello["number"], number);
        assert_eq!(hello["server_name"], "public.ech.test");
        assert_eq!(hello["ech"]["kind"], "real");
        assert_eq!(hello["ech"]["server_name"], "hrr.ech.test");
    }

    // The same hello elsewhere, out of order, cut and repeated, without its secret and with it.
    let sent = read(&pcap, port(&bed, "hrr")).sent.remove(0).1;
    let first = &sent[..700];
    let segments = [
        (1000, first),
        (1900, &sent[900..]),
        (1000, first),
        (1600, &sent[600..900]),
    ];
    std::fs::write(&pcap, ethernet(&segments)).unwrap();
    let ended = run_with(&["decode", "--pcap", pcap_text], &[]).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let text = ended.text().replace('\n', " ").replace("  ", " ");
    assert!(text.starts_with("2 ClientHellos in 4 packets"), "{text}");
    assert!(text.contains("real or GREASE: they look alike"), "{text}");
    assert!(!text.contains("hrr.ech.test"), "{text}");
    let ended = run_with(&["decode", "--pcap", pcap_text, "--keylog", log_text], &[]).await;
    assert!(ended.text().contains("hrr.ech.test"), "{}", ended.text());

    // GREASE looks the same, and nothing opens it.
    let grease = bed.url("no-record");
    let ended = bed.ech(&["trace", "--pcap", pcap_text, &grease]).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let ended = run_with(&["decode", "--pcap", pcap_text, "--json"], &[]).await;
    let hello = ended.json()["hellos"][0].clone();
    assert_eq!(hello["ech"]["kind"], "real_or_grease");
    assert_eq!(hello["server_name"], "no-record.ech.test");

    // What is no capture, or ends too early.
    let whole = std::fs::read(&pcap).unwrap();
    for (contents, code, said) in [
        (
            b"nothing of the kind".to_vec(),
            61,
            "neither as pcapng nor as pcap",
        ),
        (Vec::new(), 61, "neither as pcapng nor as pcap"),
        (whole[..whole.len() - 5].to_vec(), 0, "Not read to the end"),
    ] {
        std::fs::write(&pcap, contents).unwrap();
        let ended = run_with(&["decode", "--pcap", pcap_text], &[]).await;
        assert_eq!(ended.code, code, "{}", ended.stderr);
        let text = format!("{}{}", ended.text(), ended.stderr).replace('\n', " ");
        assert!(text.contains(said), "{text}");
    }
    let ended = run_with(&["decode", "--pcap", "/nonexistent"], &[]).await;
    assert_eq!(
        (ended.code, ended.stderr.contains("/nonexistent")),
        (26, true)
    );
    let ended = run_with(&["decode", "--keylog", log_text], &[]).await;
    assert_eq!(ended.code, 2);
}

fn fields(hello: &Value) -> Vec<&str> {
    let fields = hello["fields"].as_array().unwrap();
    fields.iter().map(|f| f["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_has_both_hellos_field_by_field_and_what_the_server_answered() {
    let bed = Bed::start(&["nominal", "stale", "hrr", "no-record", "stale-wrong-name"]).await;
    let trace = async |case: &str| {
        let ended = bed.ech(&["trace", "--json", &bed.url(case)]).await;
        (ended.code, ended.json())
    };
    let (code, nominal) = trace("nominal").await;
    assert_eq!(code, 0);
    assert_eq!(nominal["version"], 1);
    assert_eq!(nominal["name"], "nominal.ech.test");
    assert_eq!(
        (&nominal["name_in_tls"], &nominal["name_in_dns"]),
        (&false.into(), &true.into())
    );
    let asked = nominal["dns"]["query_name"].as_str().unwrap();
    assert!(asked.ends_with("._https.nominal.ech.test"), "{asked}");
    assert_eq!(nominal["error"], Value::Null);
    let connection = &nominal["connections"][0];
    assert_eq!(connection["ech"], "accepted");
    assert_eq!(connection["name_seen"], serde_json::json!([]));
    let hello = &connection["hellos"][0];
    assert_eq!(hello["outer"]["server_name"], "public.ech.test");
    assert_eq!(hello["inner"]["server_name"], "nominal.ech.test");
    for field in [
        "random",
        "cipher_suites",
        "server_name",
        "key_share",
        "encrypted_client_hello",
    ] {
        for which in ["outer", "inner"] {
            assert!(fields(&hello[which]).contains(&field), "{which} {field}");
        }
    }
    assert!(hello["padding"].as_u64().unwrap() > 0);
    assert_eq!(connection["answers"][0]["kind"], "server_hello");
    assert_eq!(connection["answers"][0]["version"], "TLS 1.3");

    let (_, stale) = trace("stale").await;
    let ech: Vec<&Value> = (0..2).map(|i| &stale["connections"][i]["ech"]).collect();
    assert_eq!(ech, ["rejected", "accepted"]);
    assert!(stale["ech"]["retry_configs"].is_string());

    let (_, retried) = trace("hrr").await;
    let connection = &retried["connections"][0];
    assert_eq!(connection["hellos"].as_array().unwrap().len(), 2);
    assert_eq!(
        connection["hellos"][1]["inner"]["server_name"],
        "hrr.ech.test"
    );
    assert_eq!(connection["answers"][0]["kind"], "hello_retry_request");
    assert_eq!(connection["answers"][0]["ech"], true);

    let (code, shown) = trace("no-record").await;
    assert_eq!((code, &shown["name_in_tls"]), (0, &true.into()));
    let connection = &shown["connections"][0];
    assert_eq!(connection["ech"], "grease");
    assert_eq!(connection["hellos"][0]["inner"], Value::Null);
    assert_eq!(
        connection["name_seen"][0]["place"],
        "ClientHello 1, server_name"
    );

    let (code, failed) = trace("stale-wrong-name").await;
    assert_eq!((code, &failed["error"]["exit_code"]), (60, &60.into()));
    assert_eq!(failed["connections"][0]["ech"], "rejected");
    assert_eq!(failed["name_in_tls"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_keeps_to_its_width_and_the_page_is_one_file() {
    let bed = Bed::start(&["stale-hrr", "no-record"]).await;
    let page = bed.path("trace.html");
    for (columns, limit) in [("80", 80), ("120", 120)] {
        let url = bed.url("stale-hrr");
        let html = page.to_str().unwrap();
        let ended = bed
            .ech(&["trace", "--columns", columns, "--html", html, &url])
            .await;
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
        let text = ended.text();
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(limit), "{widest:?}\n{text}");
        for said in [
            "TLS did not show the name stale-hrr.ech.test, but DNS did.",
            "ClientHelloOuter: seen",
            "ClientHelloInner: sealed",
            "public.ech.test",
            "HelloRetryRequest, wants a key share of",
            "ECH rejected",
            "ECH accepted",
            "retry_configs",
        ] {
            assert!(text.replace('\n', " ").contains(said), "{said}\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "no colour in a pipe");
    }
    let html = std::fs::read_to_string(&page).unwrap();
    for said in [
        "<!doctype html>",
        "prefers-color-scheme: dark",
        "stale-hrr.ech.test",
        "sealed",
    ] {
        assert!(html.contains(said), "{said}");
    }
    for loaded in ["src=", "href=", "@import", "url("] {
        assert!(!html.contains(loaded), "{loaded}");
    }

    let ended = bed.ech(&["trace", &bed.url("no-record")]).await;
    let text = ended.text();
    assert!(
        text.contains("TLS showed the name no-record.ech.test, and so did DNS."),
        "{text}"
    );
    assert!(
        text.contains("no-record.ech.test can be read: ClientHello 1, server_name"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_before_anything_is_sent() {
    let bed = Bed::start(&["nominal"]).await;
    for (arguments, code) in [
        (vec!["trace", "https://a..b/"], 3),
        (vec!["trace", "--columns", "20", "nominal.ech.test"], 2),
        (vec!["trace", "--ech", "never", "nominal.ech.test"], 2),
        (vec!["trace"], 2),
    ] {
        let ended = bed.ech(&arguments).await;
        assert_eq!(ended.code, code, "{arguments:?}: {}", ended.stderr);
    }
    let ended = run_with(&["trace", "--dns", "nowhere://", "a.test"], &[]).await;
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert!(bed.testbed.captures().is_empty());
}
