//! The example `split_router`, as built. `cargo test --workspace` builds it; by hand,
//! `cargo build -p echkit-server --features route --examples` does.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use echkit_server::KeyDirectory;

use crate::bed::{Bed, SECRET, connect, echo};

/// Killed when the test ends, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_example_routes_a_hidden_name() {
    let bed = Bed::new().await;
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    let keys = KeyDirectory::create(keys).unwrap();
    let file = keys.path().join("key.ech");
    std::fs::write(&file, bed.key.to_pem().unwrap()).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();

    let test = std::env::current_exe().unwrap();
    let built = test.parent().and_then(Path::parent).unwrap();
    let table = bed.router.table();
    let address = |name: Option<&str>| {
        let backend = name.map_or(table.outer(None), |name| table.inner(name).unwrap());
        backend.addresses().next().unwrap().to_owned()
    };
    let program = built.join("examples/split_router");
    let mut child = Command::new(&program)
        .args([keys.path().to_str().unwrap(), "0", &address(None)])
        .arg(format!("{SECRET}={}", address(Some(SECRET))))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let _running = Running(child);
    let at = line.trim().strip_prefix("routing on ").unwrap();
    let stream = connect(at.parse().unwrap(), bed.offering(), SECRET).await;
    assert_eq!(echo(stream.unwrap(), b"hello").await, b"hello");
}
