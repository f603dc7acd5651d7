//! `ech rotate`: the keys of a directory change, and servers and DNS are told.

use std::process::Command;
use std::time::Duration;

use echkit_proto::config::EchConfigList;
use echkit_proto::key::KeyParams;
use echkit_server::{
    KeyAccess, KeyDirectory, KeyDirectoryError, KeyState, KeyStatus, LockedKeyDirectory, Rotation,
    RotationError, RotationStep,
};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::{hook, nginx_include};
use crate::cli::rotate::RotateArgs;
use crate::failure::Failure;
use crate::output;

/// How often a directory is looked at between two changes, at the least and at the most.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

pub(crate) async fn run(args: RotateArgs) -> Result<(), Failure> {
    let rotation = rotation(&args)
        .map_err(|error| Failure::usage(format!("{}: {error}", args.directory.display())))?;
    if args.status {
        return status(&open(&args)?, args.json);
    }
    if args.dry_run {
        return dry_run(&args, &rotation);
    }
    let directory = KeyDirectory::create(&args.directory)?.with_access(access(&args));
    let rotator = Rotator {
        args,
        directory,
        rotation,
    };
    if rotator.args.once {
        let done = rotator.turn();
        if rotator.args.json {
            let steps = Value::Array(done.steps);
            let document = json!({ "directory": rotator.args.directory, "steps": steps });
            return match done.failed {
                Some(failure) => Err(failure.with_document(document)),
                None => output::json(&document),
            };
        }
        return done.failed.map_or(Ok(()), Err);
    }
    rotator.run().await
}

fn rotation(args: &RotateArgs) -> Result<Rotation, RotationError> {
    // An interval of nothing is refused here, one too short for the TTL at the end.
    // Each value may be out of bounds without the others: all are judged together.
    let mut rotation = Rotation::new(Duration::from_secs(86_400), Duration::ZERO)?;
    rotation.every = args.every;
    rotation.ttl = args.ttl;
    rotation.retry_window = args.retry_window;
    rotation.keep = args.keep;
    rotation.lead = args.lead;
    rotation.checked()
}

fn access(args: &RotateArgs) -> KeyAccess {
    match args.group_readable {
        true => KeyAccess::Group,
        false => KeyAccess::Owner,
    }
}

fn open(args: &RotateArgs) -> Result<KeyDirectory, Failure> {
    Ok(KeyDirectory::open(&args.directory)?.with_access(access(args)))
}

struct Rotator {
    args: RotateArgs,
    directory: KeyDirectory,
    rotation: Rotation,
}

/// What one look at the directory came to.
#[derive(Default)]
struct Turn {
    steps: Vec<Value>,
    failed: Option<Failure>,
}

impl Rotator {
    /// Until a signal ends it. A failure is told once, and tried again.
    async fn run(self) -> Result<(), Failure> {
        let no_signals = |error| Failure::system(format!("signals cannot be received: {error}"));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
        // From here on a signal ends it in order.
        output::note(&format!(
            "ech: rotating the keys in {}",
            self.args.directory.display()
        ));
        let pause = (self.rotation.every / 20).clamp(LOOK.0, LOOK.1);
        let mut told = None;
        let mut rotator = self;
        loop {
            let task = move || (rotator.turn(), rotator);
            let (turn, back) = tokio::task::spawn_blocking(task)
                .await
                .map_err(|error| Failure::system(format!("the rotation ended: {error}")))?;
            rotator = back;
            for step in turn.steps.iter().filter(|_| rotator.args.json) {
                output::json(step)?;
            }
            let line = turn.failed.and_then(|failure| failure.line());
            if let Some(line) = line.as_ref().filter(|line| told.as_ref() != Some(*line)) {
                output::note(&format!("ech: {line}"));
            }
            told = line;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
            }
        }
    }

    /// Does what is due.
    fn turn(&self) -> Turn {
        let mut turn = Turn::default();
        turn.failed = self.steps(&mut turn.steps).err();
        turn
    }

    fn steps(&self, done: &mut Vec<Value>) -> Result<(), Failure> {
        let mut locked = self.directory.lock()?;
        let mut unloaded = false;
        while let Some(step) = locked.next_step(&self.rotation) {
            let told = match step {
                RotationStep::Make => {
                    let params = self.params(&locked)?;
                    let file = locked.make(&params)?;
                    unloaded = true;
                    json!({ "step": "make", "file": file })
                }
                RotationStep::Publish(file) => {
                    // Servers have the key before clients do. A reload in an earlier run may have
                    // failed, so there is always one.
                    self.reload(&locked)?;
                    let list = locked.list(&file)?;
                    self.publish(&file, &list)?;
                    locked.publish(&file)?;
                    unloaded = true;
                    json!({ "step": "publish", "file": file, "ech": list.to_base64() })
                }
                RotationStep::Delete(file) => {
                    locked.delete(&file)?;
                    unloaded = true;
                    json!({ "step": "delete", "file": file })
                }
                _ => break,
            };
            if !self.args.json {
                let word = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
                output::note(&format!("{} {}", word("step"), word("file")));
            }
            done.push(told);
        }
        match unloaded {
            true => self.reload(&locked),
            false => Ok(()),
        }
    }

    /// What a new key is like: the one that is published, but for what was asked for.
    fn params(&self, locked: &LockedKeyDirectory) -> Result<KeyParams, Failure> {
        let before = locked.status().into_iter().rev().find(|key| {
            matches!(
                key.entry.state,
                KeyState::Published | KeyState::Retiring | KeyState::Made
            )
        });
        let contents = match before {
            Some(key) => {
                let list = locked.list(&key.entry.file)?;
                list.configs()
                    .iter()
                    .find_map(|config| config.contents().cloned())
            }
            None => None,
        };
        let old_name = contents
            .as_ref()
            .and_then(|contents| contents.public_name.as_str());
        let name = self.args.public_name.as_deref().or(old_name).ok_or_else(|| {
            Failure::usage(format!(
                "{}: there is no key whose public name could be used again; give --public-name NAME",
                self.args.directory.display()
            ))
        })?;
        let params = KeyParams::new(name)
            .map_err(|why| Failure::usage(format!("public name {name:?} is not valid: {why}")))?;
        Ok(match contents {
            Some(contents) => params
                .with_kem(contents.kem)
                .with_suites(contents.cipher_suites)
                .with_maximum_name_length(contents.maximum_name_length),
            None => params,
        })
    }

    fn publish(&self, file: &str, list: &EchConfigList) -> Result<(), Failure> {
        let ech = list.to_base64();
        let Some(text) = &self.args.publish_command else {
            if self.args.json {
                return Ok(());
            }
            return output::stdout(format!("ech=\"{ech}\"\n").as_bytes());
        };
        let mut command = hook::shell(text);
        command
            .env("ECH_CONFIG_LIST", ech)
            .env("ECH_TTL", self.args.ttl.as_secs().to_string())
            .env("ECH_KEY_FILE", self.directory.path().join(file));
        self.finish(
            command,
            "--publish-command",
            "the key that was published stays so",
        )
    }

    fn reload(&self, locked: &LockedKeyDirectory) -> Result<(), Failure> {
        if let Some(path) = &self.args.nginx_include {
            nginx_include::write(path, self.directory.path(), &locked.status())?;
        }
        match &self.args.reload_command {
            Some(text) => self.finish(
                hook::shell(text),
                "--reload-command",
                "the server may not have the new keys yet",
            ),
            None => Ok(()),
        }
    }

    fn finish(&self, command: Command, flag: &str, so: &str) -> Result<(), Failure> {
        let directory = self.args.directory.display();
        hook::run(command)
            .map_err(|why| Failure::check(format!("{directory}: {flag} failed: {why}; {so}")))
    }
}

fn status(directory: &KeyDirectory, as_json: bool) -> Result<(), Failure> {
    let keys = directory.status()?;
    if as_json {
        let key = |key: &KeyStatus| {
            json!({
                "file": key.entry.file,
                "config_id": key.entry.config_id,
                "state": key.entry.state.as_str(),
                "since_unix": key.entry.since_unix,
                "seconds_in_state": key.in_state.as_secs(),
            })
        };
        let keys: Vec<Value> = keys.iter().map(key).collect();
        return output::json(&json!({ "directory": directory.path(), "keys": keys }));
    }
    let row = |key: &KeyStatus| {
        vec![
            key.entry.file.clone(),
            key.entry.config_id.to_string(),
            key.entry.state.as_str().to_owned(),
            format!("{} s", key.in_state.as_secs()),
        ]
    };
    let mut rows = vec![
        ["FILE", "CONFIG_ID", "STATE", "FOR"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(keys.iter().map(row));
    output::stdout(output::table(&rows).as_bytes())
}

fn dry_run(args: &RotateArgs, rotation: &Rotation) -> Result<(), Failure> {
    let due = match args.directory.exists() {
        true => open(args)?.due(rotation)?,
        false => {
            return Err(Failure::read(format!(
                "{}: it is not there; without --dry-run it is made, with a first key",
                args.directory.display()
            )));
        }
    };
    let step = |step: &RotationStep| match step {
        RotationStep::Make => json!({ "step": "make" }),
        RotationStep::Publish(file) => json!({ "step": "publish", "file": file }),
        RotationStep::Delete(file) => json!({ "step": "delete", "file": file }),
        _ => Value::Null,
    };
    let steps: Vec<Value> = due.iter().map(step).collect();
    if args.json {
        return output::json(&json!({ "directory": args.directory, "due": steps }));
    }
    let line = |step: &Value| match step["file"].as_str() {
        Some(file) => format!("{} {file}\n", step["step"].as_str().unwrap_or_default()),
        None => format!("{}\n", step["step"].as_str().unwrap_or_default()),
    };
    output::stdout(steps.iter().map(line).collect::<String>().as_bytes())
}

impl From<KeyDirectoryError> for Failure {
    fn from(error: KeyDirectoryError) -> Self {
        let message = error.to_string();
        match error {
            KeyDirectoryError::Write { .. } => Self::write(message),
            KeyDirectoryError::State { .. }
            | KeyDirectoryError::File { .. }
            | KeyDirectoryError::Keys { .. } => Self::content(message),
            KeyDirectoryError::Busy(_) => Self::check(message),
            _ => Self::read(message),
        }
    }
}
