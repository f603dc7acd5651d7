//! The keys of a running server follow a directory.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use echkit::server::{EchKeyHandle, EchKeys};
use echkit_proto::key::KeyParams;
use echkit_server::{KeyDirectory, KeyWatch, Rotation, RotationStep};

/// Far longer than any machine needs: a test that fails waits for it.
const LONG: Duration = Duration::from_secs(120);

fn rotate(directory: &KeyDirectory) {
    let mut locked = directory.lock().unwrap();
    let file = locked
        .make(&KeyParams::new("public.example").unwrap())
        .unwrap();
    locked.publish(&file).unwrap();
}

fn published(keys: &EchKeys) -> u8 {
    keys.retry_configs().unwrap().configs()[0]
        .config_id()
        .unwrap()
}

struct Server {
    _parent: tempfile::TempDir,
    directory: KeyDirectory,
    keys: EchKeyHandle,
    watch: KeyWatch,
    loaded: Receiver<Result<u8, String>>,
}

fn server() -> Server {
    let parent = tempfile::tempdir().unwrap();
    let directory = KeyDirectory::create(parent.path().join("ech")).unwrap();
    rotate(&directory);
    let keys = EchKeyHandle::new(directory.load().unwrap());
    let (tell, loaded) = channel();
    let watch = KeyWatch::start(directory.clone(), keys.clone(), move |result| {
        let _ = tell.send(result.map(published).map_err(ToString::to_string));
    })
    .unwrap();
    Server {
        _parent: parent,
        directory,
        keys,
        watch,
        loaded,
    }
}

#[test]
fn a_rotation_reaches_the_handle_that_a_server_shares() {
    let server = server();
    let before = published(&server.keys.load());
    rotate(&server.directory);
    let wanted = published(&server.directory.load().unwrap());
    assert_ne!(before, wanted);
    // The key may be seen before its state is.
    while server.loaded.recv_timeout(LONG).unwrap() != Ok(wanted) {}
    assert_eq!(published(&server.keys.load()), wanted);
    assert_eq!(
        server.keys.load().keys().len(),
        2,
        "the old one opens hellos"
    );
}

#[test]
fn a_broken_file_leaves_the_keys_in_use_and_is_told() {
    let server = server();
    let before = published(&server.keys.load());
    let bad = server.directory.path().join("bad.ech");
    fs::write(&bad, "nothing").unwrap();
    fs::set_permissions(&bad, fs::Permissions::from_mode(0o600)).unwrap();
    let told = server.loaded.recv_timeout(LONG).unwrap().unwrap_err();
    assert!(told.contains("bad.ech"), "{told}");
    assert_eq!(published(&server.keys.load()), before);
    fs::remove_file(&bad).unwrap();
    while server.loaded.recv_timeout(LONG).unwrap() != Ok(before) {}
}

#[test]
fn a_reload_that_is_asked_for_happens_without_a_change() {
    let server = server();
    server.watch.reload();
    let published = published(&server.keys.load());
    assert_eq!(server.loaded.recv_timeout(LONG).unwrap(), Ok(published));
}

#[test]
fn an_hourly_rotation_has_two_keys_at_first() {
    let server = server();
    let rotation = Rotation::new(Duration::from_secs(3600), Duration::from_secs(300)).unwrap();
    assert_eq!(
        server.directory.due(&rotation).unwrap(),
        [RotationStep::Make]
    );
}
