//! One line of JSON for each connection that has ended.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use echkit_server::open_log_file;
use echkit_server::route::{ForwardedHello, RoutedConnection, hello_word};
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::output;

/// Where lines go.
pub(super) struct AccessLog {
    target: Option<Target>,
    inner_names: bool,
}

enum Target {
    Stdout,
    File(PathBuf, Mutex<File>),
}

impl AccessLog {
    pub(super) fn open(path: Option<&Path>, inner_names: bool) -> Result<Self, Failure> {
        let target = match path {
            None => None,
            Some(path) if path == Path::new("-") => Some(Target::Stdout),
            Some(path) => Some(Target::File(path.to_owned(), Mutex::new(append(path)?))),
        };
        Ok(Self {
            target,
            inner_names,
        })
    }

    /// Opens the file again, which was moved away.
    pub(super) fn reopen(&self) -> Result<(), Failure> {
        if let Some(Target::File(path, file)) = &self.target {
            let fresh = append(path)?;
            *file.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
        Ok(())
    }

    pub(super) fn write(&self, connection: &RoutedConnection) {
        let Some(target) = &self.target else { return };
        let line = format!("{}\n", entry(connection, self.inner_names));
        // A server that cannot log serves all the same.
        match target {
            Target::Stdout => drop(output::stdout(line.as_bytes())),
            Target::File(_, file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                drop(file.write_all(line.as_bytes()));
            }
        }
    }
}

fn append(path: &Path) -> Result<File, Failure> {
    open_log_file(path).map_err(|error| Failure::unwritten(path, error))
}

fn entry(connection: &RoutedConnection, inner_names: bool) -> Value {
    let mut entry = Map::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let mut put = |key: &str, value: Value| entry.insert(key.to_owned(), value);
    put("time", json!(now.unwrap_or_default().as_secs_f64()));
    put("client", json!(connection.client.to_string()));
    if let Some(hello) = &connection.hello {
        put("ech", json!(hello_word(hello)));
        match hello {
            ForwardedHello::Accepted {
                inner_name,
                outer_name,
                config_id,
                ..
            } => {
                put("config_id", json!(config_id));
                put("outer_name", json!(outer_name));
                if inner_names {
                    put("inner_name", json!(inner_name));
                }
            }
            ForwardedHello::Rejected { outer_name, .. }
            | ForwardedHello::NotOffered { outer_name } => {
                put("outer_name", json!(outer_name));
            }
            _ => {}
        }
    }
    if let Some(backend) = &connection.backend
        && (inner_names || !connection.backend_is_hidden())
    {
        put("backend", json!(backend.name()));
    }
    put("bytes_to_server", json!(connection.to_server));
    put("bytes_to_client", json!(connection.to_client));
    put("seconds", json!(connection.duration.as_secs_f64()));
    put("end", json!(connection.end.as_str()));
    if !matches!(connection.end.as_str(), "closed" | "nothing") {
        put("reason", json!(connection.end.to_string()));
    }
    Value::Object(entry)
}
