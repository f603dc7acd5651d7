//! A program whose log takes rustls' debug events is told so, once. Its own process, for a logger
//! is for all of it.
#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use echkit_test::pair::{HIDDEN, PUBLIC, Pki, chosen, key_with, run};
use echkit_tls::client::{EchOffer, TlsTarget};
use log::{LevelFilter, Log, Metadata, Record};

struct Kept(Mutex<Vec<(String, String)>>);

impl Log for Kept {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let entry = (record.target().to_owned(), record.args().to_string());
        self.0.lock().unwrap().push(entry);
    }

    fn flush(&self) {}
}

static LOGGER: Kept = Kept(Mutex::new(Vec::new()));

#[test]
fn a_logger_that_takes_the_debug_events_of_rustls_is_warned_once_and_no_name_is_logged() {
    log::set_logger(&LOGGER).unwrap();
    let pki = Pki::new(&[HIDDEN, PUBLIC]);
    let tls = pki.client().build().unwrap();
    let key = key_with(0);
    let server = pki.server(vec![key.clone()], true);
    for level in [LevelFilter::Info, LevelFilter::Trace] {
        log::set_max_level(level);
        for offer in [EchOffer::real(chosen(&key)), EchOffer::Grease] {
            for _ in 0..2 {
                let mut target = TlsTarget::new(HIDDEN.try_into().unwrap());
                target.offer = offer.clone();
                run(tls.handshake(&target).unwrap(), &server);
            }
        }
        let kept = LOGGER.0.lock().unwrap();
        let ours: Vec<_> = kept
            .iter()
            .filter(|(target, _)| target.starts_with("echkit"))
            .collect();
        assert_eq!(ours.len(), usize::from(level == LevelFilter::Trace));
        assert!(ours.iter().all(|(_, text)| text.contains("rustls")));
        assert!(kept.iter().all(|(_, text)| !text.contains(HIDDEN)));
    }
}
