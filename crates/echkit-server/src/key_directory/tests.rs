#![allow(clippy::unwrap_used)]

use tempfile::TempDir;

use super::*;

const HOUR: u64 = 3_600_000;

/// A directory on a machine whose clocks the test sets.
struct Machine {
    _parent: TempDir,
    directory: KeyDirectory,
    now: ClockReading,
}

impl Machine {
    fn new() -> Self {
        let parent = tempfile::tempdir().unwrap();
        let directory = KeyDirectory::create(parent.path().join("ech")).unwrap();
        let now = ClockReading {
            boot: "first".to_owned(),
            monotonic_ms: 0,
            wall_ms: 1_000_000_000,
        };
        Self {
            _parent: parent,
            directory,
            now,
        }
    }

    fn wait(&mut self, ms: u64) {
        self.now.monotonic_ms += ms;
        self.now.wall_ms += ms;
    }

    fn lock(&self) -> LockedKeyDirectory {
        self.directory.lock_at(&self.now).unwrap()
    }

    /// Does what the rotation wants, and tells.
    fn rotate(&self, rotation: &Rotation) -> Vec<RotationStep> {
        let mut locked = self.lock();
        let mut steps = Vec::new();
        while let Some(step) = locked.next_step(rotation) {
            match &step {
                RotationStep::Make => {
                    locked.make(&params()).unwrap();
                }
                RotationStep::Publish(file) => locked.publish(file).unwrap(),
                RotationStep::Delete(file) => locked.delete(file).unwrap(),
            }
            steps.push(step);
        }
        steps
    }

    fn states(&self) -> Vec<&'static str> {
        let status = self.directory.status().unwrap();
        status.iter().map(|key| key.entry.state.as_str()).collect()
    }

    fn files(&self) -> Vec<String> {
        let names = fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<String> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".ech"))
            .collect();
        names.sort();
        names
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

fn params() -> KeyParams {
    KeyParams::new("public.example").unwrap()
}

fn hourly() -> Rotation {
    Rotation::new(Duration::from_secs(3600), Duration::from_secs(300))
        .unwrap()
        .with_keep(1)
        .unwrap()
}

fn published(keys: &EchKeys) -> u8 {
    keys.retry_configs().unwrap().configs()[0]
        .config_id()
        .unwrap()
}

#[test]
fn a_key_is_made_published_retired_and_deleted() {
    let mut machine = Machine::new();
    assert_eq!(
        machine.rotate(&hourly()).len(),
        3,
        "make, publish, make the next"
    );
    assert_eq!(machine.states(), ["published", "made"]);
    assert_eq!(machine.rotate(&hourly()), []);
    machine.wait(HOUR);
    machine.rotate(&hourly());
    assert_eq!(machine.states(), ["retiring", "published", "made"]);
    machine.wait(HOUR);
    machine.rotate(&hourly());
    assert_eq!(machine.states(), ["gone", "retiring", "published", "made"]);
    assert_eq!(machine.files().len(), 3);
    let keys = machine.directory.load().unwrap();
    assert_eq!(keys.keys().len(), 3);
    assert_eq!(keys.keys()[0].config_id(), published(&keys));
}

#[test]
fn what_is_due_is_told_without_a_change() {
    let machine = Machine::new();
    let due = machine.directory.due(&hourly()).unwrap();
    assert!(matches!(
        due[..],
        [
            RotationStep::Make,
            RotationStep::Publish(_),
            RotationStep::Make
        ]
    ));
    assert_eq!(fs::read_dir(machine.directory.path()).unwrap().count(), 0);
    let key = EchKey::generate(&params()).unwrap();
    machine.write("a.ech", &key.to_pem().unwrap(), 0o600);
    assert_eq!(
        machine.directory.due(&hourly()).unwrap(),
        [RotationStep::Make]
    );
    assert_eq!(fs::read_dir(machine.directory.path()).unwrap().count(), 1);
}

#[test]
fn an_old_key_outlives_the_ttl_and_the_retry_window() {
    let mut machine = Machine::new();
    let rotation = Rotation::new(Duration::from_secs(60), Duration::from_secs(300))
        .unwrap()
        .with_keep(0)
        .unwrap();
    machine.rotate(&rotation);
    let first = machine.files()[0].clone();
    machine.wait(60_000);
    machine.rotate(&rotation);
    for _ in 0..14 {
        machine.wait(60_000);
        machine.rotate(&rotation);
        assert!(machine.files().contains(&first));
    }
    machine.wait(59_999);
    machine.rotate(&rotation);
    assert!(
        machine.files().contains(&first),
        "one millisecond is missing"
    );
    machine.wait(1);
    machine.rotate(&rotation);
    assert!(!machine.files().contains(&first));
}

#[test]
fn a_new_key_waits_until_servers_have_loaded_it() {
    let mut machine = Machine::new();
    let rotation = hourly().with_lead(Duration::from_secs(60));
    machine.rotate(&rotation);
    machine.wait(2 * HOUR);
    // The next key was lost meanwhile; another one must wait.
    let next = machine
        .directory
        .path()
        .join(machine.files().last().unwrap());
    fs::remove_file(next).unwrap();
    assert_eq!(machine.rotate(&rotation), [RotationStep::Make]);
    machine.wait(59_999);
    assert_eq!(machine.rotate(&rotation), []);
    machine.wait(1);
    assert!(matches!(
        machine.rotate(&rotation)[0],
        RotationStep::Publish(_)
    ));
}

#[test]
fn a_clock_that_jumps_ahead_deletes_no_key() {
    let mut machine = Machine::new();
    machine.rotate(&hourly());
    machine.wait(HOUR);
    machine.rotate(&hourly());
    machine.now.wall_ms += 1_000 * HOUR;
    assert_eq!(machine.rotate(&hourly()), []);
    machine.now.wall_ms = 0;
    assert_eq!(machine.rotate(&hourly()), []);
}

#[test]
fn a_published_key_that_was_deleted_by_hand_is_replaced_at_once() {
    let machine = Machine::new();
    machine.rotate(&hourly());
    let published = machine.directory.path().join(&machine.files()[0]);
    fs::remove_file(&published).unwrap();
    let error = machine.directory.load().unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with(&format!("{}: ", published.display())),
        "{error}"
    );
    machine.rotate(&hourly());
    assert_eq!(machine.states(), ["gone", "published", "made"]);
    assert_eq!(machine.directory.load().unwrap().keys().len(), 2);
}

#[test]
fn readers_that_go_by_time_publish_the_same_key() {
    let mut machine = Machine::new();
    for _ in 0..4 {
        machine.rotate(&hourly());
        let by_state = machine.directory.load().unwrap();
        let by_time = echkit::server::load_ech_keys(machine.directory.path()).unwrap();
        assert_eq!(published(&by_time), published(&by_state));
        assert_eq!(by_time.keys().len(), by_state.keys().len());
        machine.wait(HOUR);
    }
}

#[test]
fn a_directory_of_other_programs_is_taken_over() {
    let machine = Machine::new();
    for (name, id, age) in [("a.ech", 1, 20), ("b.pem", 2, 10), ("c.ech", 3, 30)] {
        let key = EchKey::generate(&params().with_config_id(id)).unwrap();
        let path = machine.write(name, &key.to_pem().unwrap(), 0o600);
        let file = OpenOptions::new().append(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age))
            .unwrap();
    }
    machine.write(
        "site.pem",
        "-----BEGIN CERTIFICATE-----\nAQI=\n-----END CERTIFICATE-----\n",
        0o644,
    );
    assert_eq!(published(&machine.directory.load().unwrap()), 2);
    assert_eq!(machine.rotate(&hourly()), [RotationStep::Make]);
    assert_eq!(
        machine.states(),
        ["retiring", "retiring", "published", "made"]
    );
    assert_eq!(published(&machine.directory.load().unwrap()), 2);
    // A key that comes later by hand opens hellos, and is not the rotation's to delete.
    let key = EchKey::generate(&params().with_config_id(9)).unwrap();
    machine.write("hand.ech", &key.to_pem().unwrap(), 0o600);
    assert_eq!(machine.rotate(&hourly()), []);
    assert_eq!(machine.directory.load().unwrap().keys().len(), 5);
}

#[test]
fn what_a_killed_program_left_is_put_in_order() {
    let machine = Machine::new();
    machine.rotate(&hourly());
    // Killed while it wrote a key, after it had written one, and before it deleted one.
    machine.write(".000009-aa.ech.ech-tmp", "-----BEGIN PRIV", 0o600);
    let key = EchKey::generate(&params().with_config_id(0xab)).unwrap();
    machine.write("000010-ab.ech", &key.to_pem().unwrap(), 0o600);
    let first = machine.files()[0].clone();
    let text = fs::read(machine.directory.path().join(&first)).unwrap();
    {
        let mut locked = machine.lock();
        locked.state.enter(&first, KeyState::Gone, 0);
        locked.save().unwrap();
    }
    machine.write(&first, std::str::from_utf8(&text).unwrap(), 0o600);
    let locked = machine.lock();
    assert!(!machine.files().contains(&first));
    assert_eq!(
        locked.state.find("000010-ab.ech").unwrap().state,
        KeyState::Made
    );
    assert_eq!(locked.state.next, 11);
    let rest = fs::read_dir(machine.directory.path()).unwrap();
    assert!(
        rest.map(|entry| entry.unwrap().path())
            .all(|path| path.extension().is_none_or(|e| e != "ech-tmp"))
    );
}

#[test]
fn private_keys_that_others_can_read_are_refused_unless_allowed() {
    use std::os::unix::fs::PermissionsExt;
    let machine = Machine::new();
    machine.rotate(&hourly());
    let file = machine.files()[0].clone();
    let path = machine.directory.path().join(&file);
    let set =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let refused = |directory: &KeyDirectory, mode: &str| {
        for error in [directory.load().unwrap_err(), directory.lock().unwrap_err()] {
            let text = error.to_string();
            assert!(
                matches!(error, KeyDirectoryError::Permissions { .. }),
                "{text}"
            );
            assert!(text.contains(mode) && text.contains("chmod"), "{text}");
        }
    };
    let group = machine.directory.clone().with_access(KeyAccess::Group);
    let any = machine.directory.clone().with_access(KeyAccess::Any);
    set(&path, 0o640);
    refused(&machine.directory, "0640");
    assert!(group.load().is_ok() && any.load().is_ok());
    set(&path, 0o644);
    refused(&machine.directory, "0644");
    refused(&group, "0644");
    assert!(any.load().is_ok());
    set(&path, 0o600);
    set(machine.directory.path(), 0o777);
    refused(&machine.directory, "0777");
    refused(&group, "0777");
    assert!(any.load().is_ok());
}

#[test]
fn one_program_at_a_time_changes_a_directory() {
    let machine = Machine::new();
    let held = machine.lock();
    let error = machine.directory.lock().unwrap_err();
    assert!(matches!(error, KeyDirectoryError::Busy(_)), "{error}");
    drop(held);
    assert!(machine.directory.lock().is_ok());
}

#[test]
fn keys_go_through_their_states_in_order_only() {
    let machine = Machine::new();
    machine.rotate(&hourly());
    let files = machine.files();
    let mut locked = machine.lock();
    assert!(locked.publish(&files[0]).is_err(), "it is published");
    assert!(locked.delete(&files[0]).is_err(), "it is published");
    assert!(
        locked.delete(&files[1]).is_err(),
        "it was not published yet"
    );
    let error = locked.publish("other.ech").unwrap_err().to_string();
    assert!(error.contains("other.ech: the key is unknown"), "{error}");
    assert_eq!(machine.states(), ["published", "made"]);
}

#[test]
fn a_broken_state_is_refused_by_name_and_nothing_is_changed() {
    let machine = Machine::new();
    machine.rotate(&hourly());
    let path = machine.directory.path().join(STATE);
    let good = fs::read_to_string(&path).unwrap();
    for bad in [
        String::new(),
        good[..good.len() / 2].to_owned(),
        good.replace("\"version\": 1", "\"version\": 2"),
        good.replace("\"made\"", "\"published\""),
        good.replace("\"file\": \"", "\"file\": \"../"),
    ] {
        machine.write(STATE, &bad, 0o600);
        for error in [
            machine.directory.load().unwrap_err(),
            machine.directory.lock().unwrap_err(),
        ] {
            assert!(
                error
                    .to_string()
                    .starts_with(&format!("{}: ", path.display())),
                "{error}"
            );
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), bad);
    }
}

#[test]
fn a_rotation_that_would_keep_too_many_keys_is_refused() {
    let rotation = |every, ttl| Rotation::new(Duration::from_secs(every), Duration::from_secs(ttl));
    assert!(rotation(5, 60).is_err() && rotation(0, 60).is_err());
    assert!(rotation(60, 60).is_ok());
    assert!(rotation(3600, 300).unwrap().with_keep(63).is_err());
    let quick = rotation(60, 5)
        .unwrap()
        .with_retry_window(Duration::from_secs(5));
    assert!(quick.is_ok());
}
