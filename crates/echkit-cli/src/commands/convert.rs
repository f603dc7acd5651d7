//! `ech convert`: a key in the form that another server keeps.

use std::path::{Path, PathBuf};

use echkit_proto::key::{EchKey, EchKeyFile};
use echkit_server::{CaddyKeyError, read_caddy_key, write_caddy_key};
use serde_json::json;
use zeroize::Zeroizing;

use crate::cli::convert::{ConvertArgs, KeyForm};
use crate::failure::Failure;
use crate::{input, output, private_file};

pub(crate) fn run(args: ConvertArgs) -> Result<(), Failure> {
    let file = read(&args.key)?;
    let written = match (args.to, &args.output) {
        (KeyForm::Caddy, _) => caddy(&args, file.keys())?,
        (KeyForm::Pem, Some(path)) => {
            private_file::write(path, &pem(&file)?, args.force)?;
            vec![path.clone()]
        }
        (KeyForm::Pem, None) if args.json => {
            return Err(Failure::usage(
                "--json: the PEM would go to stdout as well; give -o FILE",
            ));
        }
        (KeyForm::Pem, None) => return output::stdout(pem(&file)?.as_bytes()),
    };
    if args.json {
        return output::json(&json!({
            "ech": file.list().to_base64(),
            "written": written,
        }));
    }
    for path in written {
        output::note(&format!(
            "Wrote {} (private key: keep it on the server)",
            path.display()
        ));
    }
    Ok(())
}

/// A PEM file, or a folder of Caddy's; a file of that folder stands for it.
fn read(path: &Path) -> Result<EchKeyFile, Failure> {
    let inside = path
        .file_name()
        .is_some_and(|name| name == "key.bin" || name == "config.bin");
    let folder = match path.parent().filter(|_| inside) {
        Some(parent) => parent,
        None => path,
    };
    if inside || path.is_dir() {
        return Ok(read_caddy_key(folder)?.into());
    }
    let shown = path.display();
    let file = EchKeyFile::from_pem(Zeroizing::new(input::file(path)?))
        .map_err(|error| Failure::content(format!("{shown}: {error}")))?;
    match file.keys().is_empty() {
        true => Err(Failure::content(format!(
            "{shown}: it has no private key, and a server needs one; the ECHConfigList alone is \
             what `ech publish --ech-config @{shown}` takes"
        ))),
        false => Ok(file),
    }
}

fn pem(file: &EchKeyFile) -> Result<String, Failure> {
    file.to_pem()
        .map_err(|error| Failure::system(error.to_string()))
}

fn caddy(args: &ConvertArgs, keys: &[EchKey]) -> Result<Vec<PathBuf>, Failure> {
    let Some(storage) = &args.output else {
        return Err(Failure::usage(
            "--to caddy: give Caddy's storage with -o DIR, such as -o /var/lib/caddy/.local/share/caddy",
        ));
    };
    if !storage.is_dir() {
        return Err(Failure::write(format!(
            "{}: no such directory; `caddy environ` prints the storage as caddy.AppDataDir",
            storage.display()
        )));
    }
    let write = |key| write_caddy_key(storage, key, args.force);
    Ok(keys.iter().map(write).collect::<Result<_, _>>()?)
}

impl From<CaddyKeyError> for Failure {
    fn from(error: CaddyKeyError) -> Self {
        let message = error.to_string();
        match error {
            CaddyKeyError::Exists(_) => Self::write(format!("{message}, with --force")),
            CaddyKeyError::Write { .. } => Self::write(message),
            CaddyKeyError::Read { .. } => Self::read(message),
            CaddyKeyError::Config { .. } | CaddyKeyError::Key { .. } => Self::content(message),
            _ => Self::system(message),
        }
    }
}
