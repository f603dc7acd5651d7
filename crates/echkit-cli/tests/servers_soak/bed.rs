//! Certificates, keys and configurations in a directory, and a backend behind the router.

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use data_encoding::BASE64;
use echkit::config::EchConfigList;
use echkit::http::HttpVersions;
use echkit::server::{Acceptor, EchServer, provider};
use echkit_proto::key::{EchKey, KeyParams};
use echkit_server::KeyDirectory;
use echkit_test::lab::{self, Pki};
use http::Response;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;

use crate::clients::{Knows, Place};
use crate::process::Process;

/// The name that the network must not see.
pub(crate) const SECRET: &str = "secret.example";
const PUBLIC: &str = "public.example";

/// What the server and the backend of the secret name say.
pub(crate) const SERVED: &str = "the server";
pub(crate) const BEHIND: &str = "the backend";

pub(crate) struct Bed {
    folder: tempfile::TempDir,
    pub(crate) pki: Pki,
    pub(crate) serve: SocketAddr,
    pub(crate) route: SocketAddr,
    backend: SocketAddr,
    changes: AtomicUsize,
    /// A list of a key that no server has.
    pub(crate) never: EchConfigList,
}

impl Bed {
    pub(crate) async fn new() -> Arc<Self> {
        let pki = Pki::new();
        let other = EchKey::generate(&KeyParams::new(PUBLIC).unwrap()).unwrap();
        let backend = backend(&pki).await;
        let bed = Self {
            folder: tempfile::tempdir().unwrap(),
            serve: lab::unused_address(),
            route: lab::unused_address(),
            backend,
            pki,
            changes: AtomicUsize::new(0),
            never: lab::list(&other),
        };
        for (name, text) in [(SECRET, SERVED), (PUBLIC, "public")] {
            bed.certify(name);
            fs::create_dir(bed.path(name)).unwrap();
            fs::write(bed.path(name).join("index.html"), text).unwrap();
        }
        bed.configure(0);
        // The first key is there before the servers are.
        let first = Process::start(&[
            "rotate",
            &bed.text("keys"),
            "--once",
            "--public-name",
            PUBLIC,
            "--publish-command",
            &bed.publish(),
        ]);
        first.ends();
        Arc::new(bed)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Replaces a file at once, as those do who renew certificates.
    fn replace(&self, name: &str, text: &str) {
        let new = self.path("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    fn certify(&self, name: &str) {
        self.replace(&format!("{name}.pem"), &self.pki.issue_pem(&[name]));
    }

    /// Configurations of server and router that differ by this number, and not for clients.
    fn configure(&self, number: usize) {
        let site = |name| {
            format!(
                "[[site]]\nnames = [\"{name}\"]\ncertificate = \"{name}.pem\"\nroot = \"{name}\"\n"
            )
        };
        let serve = format!(
            "listen = \"{}\"\nkeys = \"keys\"\nstatus_page = {}\n[access_log]\nfile = \"access.log\"\n{}{}",
            self.serve,
            number.is_multiple_of(2),
            site(SECRET),
            site(PUBLIC)
        );
        self.replace("serve.toml", &serve);
        let route = format!(
            "listen = \"{}\"\nkeys = \"keys\"\npublic = \"{}\"\n[inner_names]\n\"{SECRET}\" = \"app\"\n\
             \"other-{number}.example\" = \"app\"\n[backends.app]\naddresses = [\"{}\"]\n",
            self.route, self.serve, self.backend
        );
        self.replace("route.toml", &route);
    }

    pub(crate) fn change_certificates_and_configuration(&self) {
        self.certify(SECRET);
        self.certify(PUBLIC);
        self.configure(self.changes.fetch_add(1, Ordering::Relaxed) + 1);
    }

    pub(crate) fn serve(&self) -> Process {
        let mut serve = Process::start(&["serve", "--config", &self.text("serve.toml")]);
        serve.wait_for("serving on");
        serve
    }

    pub(crate) fn route(&self) -> Process {
        let mut route = Process::start(&["route", "--config", &self.text("route.toml")]);
        route.wait_for("routing on");
        route
    }

    /// A command that puts the list into the file `published`.
    fn publish(&self) -> String {
        let to = self.text("published");
        format!("printf %s \"$ECH_CONFIG_LIST\" > '{to}.new' && mv '{to}.new' '{to}'")
    }

    /// Makes and publishes a key this often; three that were published before open hellos. A reload
    /// waits until the test says that it is done, or `ech rotate` was killed.
    pub(crate) fn rotate(&self, every: &str) -> Process {
        let wanted = self.text("reload");
        let reload = format!(
            "echo > '{wanted}'; while [ -e '{wanted}' ] && kill -0 $PPID; do sleep 0.01; done"
        );
        Process::start(&[
            "rotate",
            &self.text("keys"),
            "--every",
            every,
            "--keep",
            "3",
            "--ttl",
            "1",
            "--retry-window",
            "0",
            "--lead",
            "0",
            "--publish-command",
            &self.publish(),
            "--reload-command",
            &reload,
        ])
    }

    pub(crate) fn reload_is_wanted(&self) -> bool {
        self.path("reload").exists()
    }

    pub(crate) fn reload_is_done(&self) {
        // After a kill there may be nothing that waits.
        let _ = fs::remove_file(self.path("reload"));
    }

    /// What DNS would have.
    pub(crate) fn published(&self) -> EchConfigList {
        let text = fs::read_to_string(self.path("published")).unwrap();
        EchConfigList::parse(&BASE64.decode(text.as_bytes()).unwrap()).unwrap()
    }

    /// Every key file is whole, and the list of states is that of the files.
    pub(crate) fn assert_whole_keys(&self) {
        let directory = KeyDirectory::open(self.path("keys")).unwrap();
        let keys = directory.load().unwrap();
        assert!(keys.retry_configs().is_some());
        let files = fs::read_dir(self.path("keys")).unwrap();
        let files = files.filter(|file| {
            let name = file.as_ref().unwrap().file_name();
            name.to_string_lossy().ends_with(".ech")
        });
        assert_eq!(files.count(), keys.keys().len());
        assert!(!directory.status().unwrap().is_empty());
    }

    /// One client of each kind, at server and router.
    pub(crate) async fn serves_everybody(&self) {
        for place in Place::ALL {
            for knows in Knows::ALL {
                let list = self.published();
                let end = place
                    .fetch(self, knows, list, HttpVersions::Http2)
                    .await
                    .unwrap_or_else(|error| panic!("{knows:?} at {place:?}: {error}"));
                // `ech rotate` may have retired the key meanwhile.
                let right = end.is_right(knows) || end.is_right(Knows::VeryOld);
                assert!(right, "{knows:?} at {place:?}: {end:?}");
            }
        }
    }
}

/// A server in the role of RFC 9849 §7.2: it takes the mark `inner` for ECH.
async fn backend(pki: &Pki) -> SocketAddr {
    let provider = (*provider()).clone();
    let mut config = pki.server_with(&[SECRET], provider, rustls::ALL_VERSIONS);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = Acceptor::from(EchServer::backend(Arc::new(config)).unwrap());
    lab::listen(move |tcp| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(accepted) = acceptor.accept(tcp).await else {
                return;
            };
            let service = hyper::service::service_fn(|_| async {
                Ok::<_, Infallible>(Response::new(BEHIND.to_owned()))
            });
            // Clients leave when they like.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(accepted.stream), service)
                .await;
        }
    })
    .await
}
