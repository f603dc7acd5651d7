//! A client-facing server of split mode: opens hellos and forwards each to the server of its name.
//!
//! `cargo run -p echkit-server --features route --example split_router -- \
//!     KEY_DIRECTORY 8443 public.internal:443 secret.example=app.internal:443`

use std::sync::Arc;
use std::time::Duration;

use echkit::server::EchKeyHandle;
use echkit_server::route::{Backend, NameTable, RouteTable, Router};
use echkit_server::{Drain, KeyDirectory, KeyWatch};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut next = |what| args.next().ok_or(what);
    let directory = KeyDirectory::open(next("give the directory of the keys")?)?;
    let port = next("give a port to listen on")?;
    let public = next("give HOST:PORT of the server of the public name")?;

    // Names that ECH hides. Hellos without accepted ECH go to the server of the public name, which
    // has the same keys and sends the retry_configs.
    let mut names = NameTable::default();
    for arg in args {
        let (name, address) = arg.split_once('=').ok_or("write NAME=HOST:PORT")?;
        names.insert(name, Arc::new(Backend::new(name, [address])?))?;
    }
    let table = RouteTable::new(Arc::new(Backend::new("public", [public])?));

    // Keys follow the directory.
    let keys = EchKeyHandle::new(directory.load()?);
    let _watch = KeyWatch::start(directory, keys.clone(), |loaded| {
        if let Err(error) = loaded {
            eprintln!("ECH keys are unchanged: {error}");
        }
    })?;

    let router = Router::new(table.with_inner_names(names), keys).on_end(|connection| {
        // Its Debug form has no name that ECH hides.
        eprintln!("{connection:?}");
    });
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("routing on {}", listener.local_addr()?);

    let drain = Drain::new();
    tokio::select! {
        () = router.serve(listener, drain.clone()) => {}
        stop = tokio::signal::ctrl_c() => stop?,
    }
    drain.finish(Duration::from_secs(30)).await;
    Ok(())
}
