//! The ECHConfigs in the records (RFC 9849 §4).

use echkit::config::{ConfigVerdict, EchConfigList, WhyNot};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::catalogue::{FindingId, ProbeFamily};
use crate::deployment::Deployment;
use crate::log::CheckLog;
use crate::probe::Probe;

/// What fits into an answer of 1232 bytes over UDP beside names and other parameters.
const LARGE: usize = 1000;

pub(crate) struct Configs;

impl Probe for Configs {
    fn family(&self) -> ProbeFamily {
        ProbeFamily::Configs
    }

    fn run<'a>(&'a self, deployment: &'a Deployment<'_>, log: &'a CheckLog) -> BoxFuture<'a, ()> {
        async move {
            let mut judged: Vec<&EchConfigList> = Vec::new();
            for verdict in &deployment.discovery.records {
                let Some(ech) = &verdict.ech else { continue };
                if !judged.contains(&ech.list()) {
                    judged.push(ech.list());
                    judge(ech.list(), verdict.configs(), log);
                }
            }
        }
        .boxed()
    }
}

fn judge(list: &EchConfigList, verdicts: &[ConfigVerdict], log: &CheckLog) {
    let usable = verdicts.iter().filter(|v| v.why_not.is_none()).count();
    let reasons: Vec<String> = verdicts
        .iter()
        .filter_map(|verdict| Some((verdict, verdict.why_not.as_ref()?)))
        .map(|(verdict, why)| format!("{}: {why}", label(verdict)))
        .collect();
    match usable {
        0 => log.find(FindingId::ListUnusable, reasons.join("; ")),
        _ => {
            let word = if usable == 1 { "config" } else { "configs" };
            log.pass(format!("{usable} usable {word} in the ECHConfigList"));
        }
    }
    for verdict in verdicts {
        let id = match &verdict.why_not {
            // How many configs are judged is our limit, not a fault of the list.
            None | Some(WhyNot::NotJudged) => continue,
            Some(WhyNot::MandatoryExtension(_)) => FindingId::ConfigMandatoryExtension,
            Some(WhyNot::TooLong(_)) => FindingId::ConfigOversized,
            Some(WhyNot::UnknownVersion(_) | WhyNot::UnknownKem(_) | WhyNot::NoKnownSuite) => {
                FindingId::ConfigUnknown
            }
            Some(_) => FindingId::ConfigInvalid,
        };
        let why = verdict.why_not.as_ref().map(ToString::to_string);
        log.find(
            id,
            format!("{}: {}", label(verdict), why.unwrap_or_default()),
        );
    }
    let len = list.encode().len();
    if len > LARGE {
        log.find(FindingId::ListLarge, format!("{len} bytes"));
    }
}

fn label(verdict: &ConfigVerdict) -> String {
    match verdict.config_id {
        Some(id) => format!("config {id}"),
        None => "a config".to_owned(),
    }
}
