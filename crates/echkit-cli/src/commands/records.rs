//! The records that publish a key, for people to paste and for programs to read.

use echkit_proto::config::{EchConfigList, NameExposure, PublicName};
use echkit_server::SiteRecord;
use serde_json::{Value, json};

use crate::cli::record::RecordArgs;
use crate::failure::Failure;

/// The records of all sites that were asked for.
pub(crate) struct Records {
    ech: String,
    sites: Vec<Forms>,
}

/// One site's record in every form.
struct Forms {
    owner: String,
    zone: String,
    generic: String,
    nsupdate: String,
}

impl Records {
    pub(crate) fn new(args: &RecordArgs, list: &EchConfigList) -> Result<Self, Failure> {
        let forms = |site: &String| -> Result<Forms, Failure> {
            let usage = |error: echkit_server::SiteError| Failure::usage(error.to_string());
            let record = SiteRecord::new(site, args.ttl, list.clone()).map_err(usage)?;
            let record = record.with_alpn(&args.alpn);
            Ok(Forms {
                owner: record.owner().to_string(),
                zone: record.zone_line(),
                generic: record.generic_line().map_err(usage)?,
                nsupdate: record.nsupdate_script().map_err(usage)?,
            })
        };
        Ok(Self {
            ech: list.to_base64(),
            sites: args.site.iter().map(forms).collect::<Result<_, _>>()?,
        })
    }

    /// The `ech` parameter alone, or, where sites were named, their records too.
    pub(crate) fn text(&self) -> String {
        let parameter = format!("ech=\"{}\"\n", self.ech);
        if self.sites.is_empty() {
            return parameter;
        }
        let section = |title: &str, of: &dyn Fn(&Forms) -> String| {
            let bodies: String = self.sites.iter().map(of).collect();
            format!("\n; {title}\n{bodies}")
        };
        [
            format!("; The parameter alone, for a record that is there already\n{parameter}"),
            section("Zone file", &|site| format!("{}\n", site.zone)),
            section(
                "Zone file, for DNS servers that do not know the type HTTPS (RFC 3597)",
                &|site| format!("{}\n", site.generic),
            ),
            section(
                "For nsupdate -k KEYFILE; a record that is there already is kept",
                &|site| site.nsupdate.clone(),
            ),
        ]
        .concat()
    }

    pub(crate) fn json(&self) -> Value {
        let site = |forms: &Forms| {
            json!({
                "owner": forms.owner,
                "zone": forms.zone,
                "generic": forms.generic,
                "nsupdate": forms.nsupdate,
            })
        };
        Value::Array(self.sites.iter().map(site).collect())
    }
}

/// What to know of a record's TTL.
pub(crate) fn ttl_advice(ttl: u32) -> String {
    let more = match ttl {
        0..60 => "; below 60, resolvers ask often and some keep it longer all the same",
        3_601.. => "; above 3600, a key that leaked stays published for long: 300 is usual",
        _ => "",
    };
    format!(
        "TTL {ttl}: after you publish another key, keep this one on the server for at least {ttl} seconds, \
         and some more for connections that begin late{more}"
    )
}

/// The sites that the public name does not hide.
pub(crate) fn exposed<'a>(args: &'a RecordArgs, name: &PublicName) -> Vec<&'a str> {
    let host = |site: &'a String| site.split(':').next().unwrap_or(site).trim_end_matches('.');
    args.site
        .iter()
        .map(host)
        .filter(|host| name.exposes(host) == NameExposure::Equal)
        .collect()
}
