//! What the tests of the HTTPS server share: files on disk, a running server, clients.
#![allow(dead_code, unreachable_pub)]

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use echkit::config::EchConfigList;
use echkit::connect::{Connector, Stream};
use echkit::http::ClientBuilder;
use echkit::{Client, EchMode};
use echkit_proto::key::KeyParams;
use echkit_server::KeyDirectory;
use echkit_server::serve::{
    HttpServer, HttpServerHandle, ProxyTarget, ServeConfig, ServeEvent, ServedSite, SiteContent,
};
use echkit_test::lab::Pki;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

/// A name that the network must not see.
pub const SECRET: &str = "secret.example";
/// Another one.
pub const OTHER: &str = "other-secret.example";
/// The name in outer hellos.
pub const PUBLIC: &str = "public.example";

/// How long something may take that must happen. Nothing waits for it to pass.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Certificates, keys and documents in a directory.
pub struct Bed {
    pub directory: tempfile::TempDir,
    pub pki: Pki,
}

impl Bed {
    pub fn new() -> Self {
        let bed = Self {
            directory: tempfile::tempdir().unwrap(),
            pki: Pki::new(),
        };
        for name in [SECRET, OTHER, PUBLIC] {
            bed.certify(name, &[name]);
            bed.write(
                &format!("{name}/index.html"),
                format!("<p>{name}").as_bytes(),
            );
        }
        bed.new_key(PUBLIC);
        bed
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Writes FILE.pem, with a certificate for these names and its key.
    pub fn certify(&self, file: &str, names: &[&str]) -> PathBuf {
        let text = self.pki.issue_pem(names);
        // Whole at once, as programs that renew certificates do it.
        let path = self.write(&format!("{file}.pem.new"), text.as_bytes());
        let to = self.path(&format!("{file}.pem"));
        fs::rename(path, &to).unwrap();
        to
    }

    /// Makes and publishes a key.
    pub fn new_key(&self, public_name: &str) {
        let directory = KeyDirectory::create(self.path("keys")).unwrap();
        let mut locked = directory.lock().unwrap();
        let file = locked.make(&KeyParams::new(public_name).unwrap()).unwrap();
        locked.publish(&file).unwrap();
    }

    /// The list that is published now.
    pub fn list(&self) -> EchConfigList {
        let keys = KeyDirectory::open(self.path("keys"))
            .unwrap()
            .load()
            .unwrap();
        keys.retry_configs().unwrap().clone()
    }

    pub fn site(&self, name: &str, content: SiteContent) -> ServedSite {
        let file = self.path(&format!("{name}.pem"));
        ServedSite::new(vec![name.to_owned()], &file, &file, content)
    }

    /// Two hidden sites and the public name's, each with its own directory.
    pub fn config(&self) -> ServeConfig {
        let mut config = ServeConfig::new(self.path("keys"));
        config.listen = vec![([127, 0, 0, 1], 0).into()];
        config.sites = [SECRET, OTHER, PUBLIC]
            .map(|name| self.site(name, SiteContent::Files(self.path(name))))
            .to_vec();
        config
    }

    /// The same, with the secret name's site behind a proxy.
    pub fn proxying(&self, target: &str) -> ServeConfig {
        let mut config = self.config();
        config.sites[0].content = SiteContent::Proxy(ProxyTarget::parse(target).unwrap());
        config
    }

    /// A client that offers ECH with this list, and insists on it.
    pub fn client(&self, address: SocketAddr) -> ClientBuilder {
        let builder = self.client_in(EchMode::Require, address);
        builder.ech_config(self.list())
    }

    /// A client in this mode, without a list.
    pub fn client_in(&self, mode: EchMode, address: SocketAddr) -> ClientBuilder {
        let mut builder = Client::builder().tls(self.pki.tls()).ech(mode).no_cache();
        for name in [SECRET, OTHER, PUBLIC] {
            builder = builder.connect_to(name, 443, "127.0.0.1", address.port());
        }
        builder
    }

    /// A stream to a site over ECH, for bytes of one's own.
    pub async fn stream(&self, address: SocketAddr, name: &str, alpn: &[u8]) -> Stream {
        let connector = Connector::builder()
            .tls(self.pki.tls())
            .ech(EchMode::Require)
            .ech_config(self.list())
            .connect_to(name, 443, "127.0.0.1", address.port())
            .build()
            .unwrap();
        let origin = format!("https://{name}").parse().unwrap();
        connector
            .connect(&origin, &[alpn])
            .await
            .unwrap()
            .into_parts()
            .0
    }

    /// Sends bytes to a site over HTTP/1.1 and ECH, and reads until the server closes.
    pub async fn raw(&self, address: SocketAddr, name: &str, request: &[u8]) -> String {
        let mut stream = self.stream(address, name, b"http/1.1").await;
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        // However it is closed.
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// A server that runs.
pub struct Running {
    pub address: SocketAddr,
    pub handle: HttpServerHandle,
    pub events: Events,
    pub task: JoinHandle<()>,
}

#[derive(Clone, Default)]
pub struct Events {
    seen: Arc<Mutex<Vec<ServeEvent>>>,
    more: Arc<tokio::sync::Notify>,
}

impl Events {
    pub fn add(&self, event: ServeEvent) {
        self.seen.lock().unwrap().push(event);
        self.more.notify_waiters();
        self.more.notify_one();
    }

    /// Waits for an event that is like this.
    pub async fn wait(&self, like: impl Fn(&ServeEvent) -> bool) -> ServeEvent {
        let wait = async {
            loop {
                let more = self.more.notified();
                if let Some(event) = self.seen.lock().unwrap().iter().find(|event| like(event)) {
                    return event.clone();
                }
                more.await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap()
    }

    pub fn clear(&self) {
        self.seen.lock().unwrap().clear();
    }
}

pub async fn start(config: ServeConfig) -> Running {
    let events = Events::default();
    let told = events.clone();
    let server = HttpServer::bind(config, move |event| told.add(event))
        .await
        .unwrap();
    Running {
        address: server.addresses()[0],
        handle: server.handle(),
        events,
        task: tokio::spawn(server.run()),
    }
}

/// A backend over HTTP/1.1 that answers each connection's first request with the head that it got,
/// and keeps what it was sent.
pub async fn echo_backend() -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo_head(stream, Arc::clone(&kept)));
        }
    });
    (address, seen)
}

/// Answers one request with its own head, and closes.
pub async fn echo_head(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    seen: Arc<Mutex<Vec<u8>>>,
) {
    let mut got = Vec::new();
    let end = loop {
        if let Some(end) = got.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        match stream.read_buf(&mut got).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    };
    let head = String::from_utf8_lossy(&got[..end]).into_owned();
    let reply = format!(
        "HTTP/1.1 200 OK\r\nConnection: close, X-Inner\r\nX-Inner: 1\r\nKeep-Alive: timeout=5\r\n\
         Content-Length: {}\r\n\r\n{head}",
        head.len()
    );
    let _ = stream.write_all(reply.as_bytes()).await;
    let _ = stream.shutdown().await;
    let _ = stream.read_to_end(&mut got).await;
    seen.lock().unwrap().extend_from_slice(&got);
}
