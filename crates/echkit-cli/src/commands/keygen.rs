//! `ech keygen`: a new ECH key, as a file that servers read and a record to publish.

use echkit_proto::config::EchConfigList;
use echkit_proto::hpke::Kem;
use echkit_proto::key::{EchKey, KeyParams};
use serde_json::json;

use crate::cli::KeygenArgs;
use crate::failure::Failure;
use crate::output;
use crate::private_file;

use super::records::{Records, exposed, ttl_advice};

pub(crate) fn run(args: KeygenArgs) -> Result<(), Failure> {
    let name = &args.public_name;
    if !args.record.site.is_empty() && args.output.is_none() && !args.json {
        return Err(Failure::usage(
            "--site: without -o FILE the private key goes to stdout, and records with it; give -o FILE or --json",
        ));
    }
    let mut params = KeyParams::new(name)
        .map_err(|why| Failure::usage(format!("public name {name:?} is not valid: {why}")))?;
    params.config_id = args.config_id;
    params.kem = args.kem;
    params.maximum_name_length = args.max_name_length;
    if !args.suite.is_empty() {
        params.suites = args.suite;
    }
    let key = EchKey::generate(&params).map_err(|error| Failure::usage(error.to_string()))?;
    let pem = key
        .to_pem()
        .map_err(|error| Failure::system(error.to_string()))?;
    let list = EchConfigList::from(key.config().clone());
    let records = Records::new(&args.record, &list)?;

    if let Some(note) = cost_note(args.kem) {
        output::note(&note);
    }
    for site in exposed(&args.record, &params.public_name) {
        output::note(&format!(
            "ech: note: {site} is the public name itself, which every hello shows: ECH hides nothing of it"
        ));
    }
    if let Some(path) = &args.output {
        private_file::write(path, &pem, args.force)?;
    }
    if args.json {
        let contents = key.contents();
        return output::json(&json!({
            "config_id": key.config_id(),
            "public_name": name,
            "kem": contents.kem.to_string(),
            "suites": contents.cipher_suites.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "maximum_name_length": contents.maximum_name_length,
            "ech": list.to_base64(),
            "ttl": args.record.ttl,
            "records": records.json(),
            "file": args.output,
            "pem": args.output.is_none().then_some(pem),
        }));
    }
    match &args.output {
        Some(path) => {
            output::note(&format!(
                "Wrote {} (private key: keep it on the server). Publish:",
                path.display()
            ));
            output::stdout(records.text().as_bytes())?;
            if !args.record.site.is_empty() {
                output::note(&ttl_advice(args.record.ttl));
            }
            Ok(())
        }
        None => output::stdout(pem.as_bytes()),
    }
}

/// What a slow KEM costs a server; `docs/keys.md` has the figures.
fn cost_note(kem: Kem) -> Option<String> {
    let times = match kem {
        Kem::P384 => "about 6",
        Kem::P521 => "about 7",
        Kem::X_WING => "about 10",
        _ => return None,
    };
    Some(format!(
        "ech: note: {kem} is slow. Every ClientHello with this config_id costs the server \
            {times} times the CPU of x25519 before the client is authenticated; docs/keys.md has the figures"
    ))
}
