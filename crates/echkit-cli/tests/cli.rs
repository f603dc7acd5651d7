//! The real binary: what it prints, and how it ends.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn ech(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ech"));
    command
        .args(arguments)
        .env_remove("ECHKIT_DNS")
        .env_remove("ECHKIT_LOG")
        .env_remove("SSL_CERT_FILE")
        .env("no_proxy", "*")
        .stdin(Stdio::null());
    command
}

fn with_stdin(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stdout));
    })
}

/// The exit code and the one line on stderr.
fn failure(output: &Output) -> (i32, String) {
    let line = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(line.trim_end().lines().count(), 1, "one line: {line}");
    (output.status.code().unwrap(), line)
}

#[test]
fn a_key_is_made_once_and_decoded_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.pem");
    let path = path.to_str().unwrap();

    let made = ech(&[
        "keygen",
        "public.example",
        "-o",
        path,
        "--json",
        "--config-id",
        "9",
    ]);
    assert!(made.status.success());
    let made = json(&made);
    assert_eq!(made["config_id"], 9);
    assert_eq!(made["file"], path);
    assert_eq!(made["pem"], Value::Null, "the key is in the file only");

    let from_file = json(&ech(&["decode", "--json", &format!("@{path}")]));
    assert_eq!(from_file["private_key"], true);
    assert_eq!(from_file["ech"], made["ech"]);
    let list = made["ech"].as_str().unwrap();
    let from_text = json(&with_stdin(&["decode", "--json"], list.as_bytes()));
    assert_eq!(from_text["configs"], from_file["configs"]);
    assert_eq!(from_text["configs"][0]["public_name"], "public.example");

    let before = std::fs::read(path).unwrap();
    let (code, line) = failure(&ech(&["keygen", "public.example", "-o", path]));
    assert_eq!(code, 23);
    assert!(line.contains(path) && line.contains("--force"), "{line}");
    assert_eq!(std::fs::read(path).unwrap(), before, "nothing was lost");
    assert!(
        ech(&["keygen", "public.example", "-o", path, "--force"])
            .status
            .success()
    );
    assert_ne!(std::fs::read(path).unwrap(), before);
}

#[test]
fn a_key_is_published_by_whole_records() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.pem");
    let path = path.to_str().unwrap();
    let sites = ["--site", "a.example", "--site", "b.example:8443"];
    let more = ["--alpn", "h2", "--ttl", "120", "--force"];
    let arguments = [&["keygen", "public.example", "-o", path][..], &sites, &more].concat();
    let made = ech(&arguments);
    let text = String::from_utf8(made.stdout).unwrap();
    let advice = String::from_utf8(made.stderr).unwrap();
    assert!(advice.contains("TTL 120: ") && advice.contains("at least 120 seconds"));
    for wanted in [
        "\nech=\"",
        "\na.example. 120 IN HTTPS 1 . alpn=h2 ech=",
        "\n_8443._https.b.example. 120 IN HTTPS 1 b.example. alpn=h2 ech=",
        "\na.example. 120 IN TYPE65 \\# ",
        "\nprereq nxrrset a.example. TYPE65\nupdate add a.example. 120 TYPE65 \\# ",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in {text}");
    }

    let made = json(&ech(&[&arguments[..], &["--json"]].concat()));
    assert_eq!(made["ttl"], 120);
    let list = made["ech"].as_str().unwrap();
    for (at, owner) in ["a.example", "_8443._https.b.example"].iter().enumerate() {
        let record = &made["records"][at];
        assert_eq!(record["owner"], *owner);
        for form in ["zone", "generic"] {
            let line = record[form].as_str().unwrap();
            let decoded = json(&with_stdin(&["decode", "--json"], line.as_bytes()));
            assert_eq!(decoded["ech_config_list"]["ech"], list, "{decoded}");
        }
    }
}

#[test]
fn records_that_cannot_be_are_refused_before_a_key_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.pem");
    let text = path.to_str().unwrap();
    for (site, word) in [("192.0.2.1", "host name"), ("https://a.example/", "HOST")] {
        let (code, line) = failure(&ech(&["keygen", "p.example", "-o", text, "--site", site]));
        assert!(
            code == 2 && line.contains(site) && line.contains(word),
            "{line}"
        );
        assert!(!path.exists());
    }
    let (code, line) = failure(&ech(&["keygen", "p.example", "--site", "a.example"]));
    assert!(code == 2 && line.contains("-o FILE"), "{line}");
    let same = ech(&["keygen", "p.example", "-o", text, "--site", "P.example"]);
    let notes = String::from_utf8(same.stderr).unwrap();
    assert!(notes.contains("ECH hides nothing"), "{notes}");
}

#[test]
fn a_key_of_a_slow_kem_is_made_with_a_note_about_its_cost() {
    for (kem, slow) in [
        ("x25519", false),
        ("p256", false),
        ("p384", true),
        ("p521", true),
        ("x-wing", true),
    ] {
        let made = ech(&["keygen", "public.example", "--kem", kem, "--json"]);
        assert!(made.status.success(), "{made:?}");
        assert_eq!(json(&made)["kem"], kem);
        let said = String::from_utf8(made.stderr).unwrap();
        assert_eq!(said.lines().count(), usize::from(slow), "{said}");
        assert_eq!(said.contains("times the CPU of x25519"), slow, "{said}");
    }
}

#[cfg(unix)]
#[test]
fn a_private_key_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.pem");
    let text = path.to_str().unwrap();
    for more in [&[][..], &["--force"]] {
        let arguments = [&["keygen", "public.example", "-o", text], more].concat();
        assert!(ech(&arguments).status.success());
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}

#[test]
fn a_key_goes_to_caddy_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (pem, back, storage) = (path("key.pem"), path("back.ech"), path("storage"));
    let made = ech(&["keygen", "public.example", "--config-id", "77", "-o", &pem]);
    assert!(made.status.success(), "{made:?}");

    let to_caddy = ["convert", &pem, "--to", "caddy", "-o", &storage];
    let (code, line) = failure(&ech(&to_caddy));
    assert_eq!(code, 23, "{line}");
    assert!(line.contains(&storage), "{line}");
    std::fs::create_dir(&storage).unwrap();
    let converted = json(&ech(&[&to_caddy[..], &["--json"]].concat()));
    let key = format!("{storage}/ech/configs/77");
    assert_eq!(converted["written"], serde_json::json!([key]));
    let (code, line) = failure(&ech(&to_caddy));
    assert_eq!(code, 23, "{line}");
    assert!(line.contains(&key) && line.contains("--force"), "{line}");
    assert!(
        ech(&[&to_caddy[..], &["--force"]].concat())
            .status
            .success()
    );

    // The folder, or a file in it.
    for from in [key.clone(), format!("{key}/key.bin")] {
        let printed = ech(&["convert", &from, "--to", "pem"]);
        assert_eq!(printed.stdout, std::fs::read(&pem).unwrap(), "{from}");
        let to_file = ["convert", &from, "--to", "pem", "-o", &back, "--force"];
        assert!(ech(&to_file).status.success());
        assert_eq!(std::fs::read(&back).unwrap(), printed.stdout);
    }
    let list = format!("@{key}/config.bin");
    assert_eq!(
        json(&ech(&["decode", "--json", &list]))["ech"],
        converted["ech"]
    );
}

#[test]
fn what_is_no_key_is_not_converted() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let pem = String::from_utf8(ech(&["keygen", "public.example"]).stdout).unwrap();
    let public = pem[pem.find("-----BEGIN ECHCONFIG").unwrap()..].to_owned();
    std::fs::write(path("public.pem"), public).unwrap();
    std::fs::create_dir(path("empty")).unwrap();
    for (key, code, word) in [
        ("public.pem", 61, "no private key"),
        ("missing.pem", 26, "missing.pem"),
        ("empty", 26, "key.bin"),
    ] {
        let (ended, line) = failure(&ech(&["convert", &path(key), "--to", "pem"]));
        assert_eq!(ended, code, "{line}");
        assert!(line.contains(word), "{line}");
    }
}

#[test]
fn every_form_is_decoded() {
    const LIST: &str = "AEX+DQBBFQAgACA/EHh3GXREvy6G2AMi15EnVVYAqqjWHCfGlPIUT4dpCAAEAAEAAQASY2xvdWRmbGFyZS1lY2guY29tAAA=";
    let record = format!("1 . alpn=h2 ech={LIST}");
    let decoded = json(&ech(&["decode", "--json", &record]));
    assert_eq!(decoded["kind"], "https_record");
    assert_eq!(decoded["alpn"], serde_json::json!(["h2"]));
    assert_eq!(decoded["ech_config_list"]["configs"][0]["config_id"], 21);
    let zone = format!("example.com. 300 IN HTTPS {record}");
    assert_eq!(json(&ech(&["decode", "--json", &zone])), decoded);
    let text = ech(&["decode", LIST]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("cloudflare-ech.com") && text.contains("x25519"),
        "{text}"
    );
}

/// A list in every form in which people have it, with the file name's ending for those in files.
fn forms_of_a_list() -> (String, Vec<Vec<u8>>) {
    let list = json(&ech(&["keygen", "public.example", "--json"]))["ech"].clone();
    let base64 = list.as_str().unwrap().to_owned();
    let bytes = data_encoding::BASE64.decode(base64.as_bytes()).unwrap();
    let hex = data_encoding::HEXLOWER.encode(&bytes);
    let colons: Vec<&str> = (0..hex.len())
        .step_by(2)
        .map(|at| &hex[at..at + 2])
        .collect();
    let texts = [
        base64
            .trim_end_matches('=')
            .replace('+', "-")
            .replace('/', "_"),
        format!("\u{feff}\"{base64}\"\n"),
        format!("ecl:{base64}"),
        format!("ech=\"{base64}\""),
        format!("0x{hex}"),
        colons.join(":"),
        format!("example.com 300 IN HTTPS (\n 1 . ech={base64} ) ; comment"),
    ];
    let mut forms: Vec<Vec<u8>> = texts.map(String::into_bytes).to_vec();
    // The list in binary, and its one config without the list's length.
    forms.extend([bytes.clone(), bytes[2..].to_vec()]);
    (base64, forms)
}

#[test]
fn a_list_is_read_in_every_form_and_the_form_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.bin");
    let argument = format!("@{}", file.display());
    let (base64, forms) = forms_of_a_list();
    for form in forms {
        std::fs::write(&file, &form).unwrap();
        let shown = String::from_utf8_lossy(&form).into_owned();
        let config = json(&ech(&["decode", "--kind", "config", "--json", &argument]));
        assert_eq!(config["ech"], base64, "{shown}");
        let auto = ech(&["decode", "--json", &argument]);
        assert!(auto.status.success(), "{shown}");
        // A host without a resolver: the list was taken before anything was asked.
        let url = "https://127.0.0.1:1/";
        let (code, line) = failure(&ech(&["get", url, "--ech-config", &argument]));
        assert_eq!(code, 7, "{shown}: {line}");
    }
    let raw = data_encoding::BASE64.decode(base64.as_bytes()).unwrap();
    std::fs::write(&file, &raw[2..]).unwrap();
    let decoded = json(&ech(&["decode", "--json", &argument]));
    assert_eq!(decoded["form"]["name"], "configs");
    assert_eq!(decoded["form"]["encoding"], "binary");
    let text = String::from_utf8(ech(&["decode", &argument]).stdout).unwrap();
    assert!(
        text.contains("an ECHConfig without the length of a list, in binary"),
        "{text}"
    );
}

#[test]
fn what_dns_tools_print_is_decoded_record_by_record() {
    let printed = ";; ANSWER SECTION:\n\
        a.example.\t300\tIN\tHTTPS\t1 . alpn=\"h2\"\n\
        a.example.\t300\tIN\tHTTPS\t2 HTTPS.example.com. alpn=h3\n\n;; Query time: 1 msec\n";
    let decoded = json(&with_stdin(&["decode", "--json"], printed.as_bytes()));
    assert_eq!(decoded["kind"], "https_records");
    assert_eq!(decoded["records"][0]["owner"], "a.example.");
    assert_eq!(decoded["records"][1]["target"], "HTTPS.example.com");
    let one = json(&ech(&["decode", "--json", "1 HTTPS.example.com. alpn=h2"]));
    assert_eq!(one["target"], "HTTPS.example.com");
    let rdata = json(&ech(&["decode", "--json", "0001 00 0001 0003 02 6832"]));
    assert_eq!(rdata["presentation"], "1 . alpn=h2");
    let (code, line) = failure(&with_stdin(&["decode"], b";; nothing\n"));
    assert_eq!(code, 61);
    assert!(line.contains("no HTTPS record"), "{line}");
    let (_, line) = failure(&with_stdin(&["decode"], b"1 .\n2 a..b\n"));
    assert!(line.contains("line 2"), "{line}");
}

#[test]
fn answers_in_json_are_decoded_as_their_records_are() {
    let data = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../echkit-proto/testdata/dns-tools"
    );
    let records = |name: &str| {
        let mut decoded = json(&ech(&["decode", "--json", &format!("@{data}/{name}")]));
        match decoded["records"].take() {
            Value::Null => vec![decoded],
            Value::Array(records) => records,
            other => panic!("{other}"),
        }
    };
    for (name, count) in [("several", 4), ("cname", 1)] {
        let expected = records(&format!("{name}.zone"));
        assert_eq!(expected.len(), count);
        assert_eq!(records(&format!("{name}.kdig-json")), expected);
    }
    // The form of resolvers that answer in JSON, with the data in words and in hexadecimal.
    let answer = r#"{"Status":0,"Question":[{"name":"a.test.","type":65}],"Answer":[
        {"name":"a.test.","type":5,"TTL":1,"data":"b.test."},
        {"name":"b.test.","type":65,"TTL":1,"data":"1 . alpn=\"h2\""},
        {"name":"b.test.","type":65,"TTL":1,"data":"\\# 10 00 02 00 00 01 00 03 02 68 33"}]}"#;
    let decoded = json(&with_stdin(&["decode", "--json"], answer.as_bytes()));
    assert_eq!(decoded["records"][0]["owner"], "b.test.");
    assert_eq!(decoded["records"][1]["presentation"], "2 . alpn=h3");
    for none in [
        "no-record.kdig-json",
        "no-record.host",
        "no-record.nslookup",
        "no-record.dig-yaml",
    ] {
        let (code, line) = failure(&ech(&["decode", &format!("@{data}/{none}")]));
        assert_eq!(code, 61, "{none}");
        assert!(line.contains("no HTTPS record"), "{none}: {line}");
    }
    let (_, line) = failure(&with_stdin(&["decode"], b"{\"other\": 1}"));
    assert!(!line.contains("no HTTPS record"), "{line}");
}

#[test]
fn what_cannot_be_decoded_is_named() {
    for (arguments, code, part) in [
        (
            &["decode", "garbage!"][..],
            61,
            "neither base64, hexadecimal nor PEM",
        ),
        (&["decode", "AEX+DQ=="], 61, "truncated"),
        (
            &["decode", "--kind", "hello", "0100"],
            61,
            "not a ClientHello",
        ),
        (&["decode", "1 . nonsense=%"], 61, "not an HTTPS record"),
        (&["decode", "@/no/such/file"], 26, "/no/such/file"),
        (&["decode", ""], 61, "nothing to decode"),
    ] {
        let (got, line) = failure(&ech(arguments));
        assert_eq!(got, code, "{arguments:?}: {line}");
        assert!(line.contains(part), "{arguments:?}: {line}");
    }
}

#[test]
fn usage_errors_end_with_2() {
    for arguments in [
        &["keygen", "10.0.0.1"][..],
        &["keygen", "public.example", "--kem", "rot13"],
        &["get", "https://a.example", "--ech", "maybe"],
        &["get", "https://a.example", "--dns", "carrier-pigeon://loft"],
        &["get", "https://a.example", "--resolve", "nonsense"],
        &["get", "https://a.example", "--ech-config", "nonsense"],
        &["get", "https://a.example", "--report", "-"],
        &["nonsense"],
    ] {
        let output = ech(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn json_is_printed_on_failure_too() {
    let output = ech(&["decode", "--json", "garbage!"]);
    let document = json(&output);
    assert_eq!(document["error"]["kind"], "content");
    assert_eq!(document["error"]["exit_code"], 61);
    assert_eq!(output.status.code(), Some(61));
}

#[test]
fn completions_know_commands_modes_and_cases() {
    for shell in ["bash", "zsh", "fish"] {
        let script = String::from_utf8(ech(&["completions", shell]).stdout).unwrap();
        for word in ["keygen", "outer-sni", "grease", "x-wing", "stale-retry"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    // What completes does not crowd the help.
    let help = String::from_utf8(ech(&["testbed", "--help"]).stdout).unwrap();
    assert!(!help.contains("stale-retry"), "{help}");
}

#[test]
fn every_command_has_a_manual_page_of_its_own() {
    let man = String::from_utf8(ech(&["man"]).stdout).unwrap();
    assert!(man.contains("keygen") && man.matches(".TH").count() == 1);
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man1");
    assert!(ech(&["man", pages.to_str().unwrap()]).status.success());
    let page = |name: &str| std::fs::read_to_string(pages.join(name)).unwrap();
    assert!(page("ech.1").contains("ech\\-get(1)"), "{}", page("ech.1"));
    for command in [
        "get",
        "lookup",
        "trace",
        "check",
        "grade",
        "explain",
        "decode",
        "cache",
        "keygen",
        "convert",
        "rotate",
        "publish",
        "serve",
        "testbed",
        "demo",
        "completions",
        "man",
    ] {
        let text = page(&format!("ech-{command}.1"));
        assert!(text.contains(&format!(".TH ech-{command} 1")), "{text}");
        assert!(text.contains(&format!("ech\\-{command} \\-")), "{text}");
        assert_eq!(text.matches(".SH EXAMPLES").count(), 1, "{text}");
        for short in ["-h", "--help"] {
            let help = String::from_utf8(ech(&[command, short]).stdout).unwrap();
            assert!(help.contains("Examples:\n  "), "{help}");
        }
    }
    assert!(page("ech.1").contains(".SH EXAMPLES"));
    let get = page("ech-get.1");
    assert!(
        get.contains(".SH EXAMPLES") && get.contains("SSLKEYLOGFILE"),
        "{get}"
    );
    assert!(
        get.contains("MODE") && get.contains("HOST:PORT:ADDRESS"),
        "{get}"
    );
}

#[test]
fn an_unknown_case_is_told_of_the_nearest() {
    let (code, line) = failure(&ech(&["testbed", "--only", "stale-retri"]));
    assert_eq!(code, 2);
    assert!(line.contains("did you mean stale-retry"), "{line}");
    let (_, line) = failure(&ech(&["testbed", "--only", "zzzzzz"]));
    assert!(line.contains("--list") && line.len() < 120, "{line}");
}
