//! `ech publish`: an ECHConfigList in the HTTPS records of a site.

use std::path::{Path, PathBuf};

use echkit::dns::{Resolver, ResolverOptions};
use echkit_proto::config::EchConfigList;
use echkit_proto::dns::TsigKey;
use echkit_proto::svcb::Record;
use echkit_server::{
    CheckOptions, HttpsRrset, KeyAccess, KeyDirectory, KeyState, KeyStatus, LockedKeyDirectory,
    Publication, PublishError, PublishHistory, WaitFor, check_accepted, wait_until_shown,
};
use serde_json::{Value, json};

use super::hook;
use crate::cli::publish::PublishArgs;
use crate::failure::Failure;
use crate::input;
use crate::output;

use place::Place;

mod failure;
mod place;

pub(crate) async fn run(args: PublishArgs) -> Result<(), Failure> {
    if args.state.is_some() && args.site.len() > 1 {
        return Err(Failure::usage(
            "--state is the file of one site; give one site, or --keys",
        ));
    }
    args.proxies.warn();
    let run = Run::new(args)?;
    // All are checked before one is changed.
    let mut lock = run.lock()?;
    let mut changes = Vec::new();
    for site in &run.args.site {
        changes.push(run.plan(site).await?);
    }
    let mut told = Vec::new();
    let mut failed = None;
    for change in changes {
        match run.make(change, lock.as_mut()).await {
            Ok(document) => told.push(document),
            Err(failure) => {
                failed = Some(failure);
                break;
            }
        }
    }
    let document = json!({ "sites": told });
    match failed {
        Some(failure) => Err(failure.with_document(document)),
        None if run.args.json => output::json(&document),
        None => Ok(()),
    }
}

/// How the records get to where they are published.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Update,
    Exec,
    Print,
}

struct Run {
    args: PublishArgs,
    resolver: Resolver,
    directory: Option<KeyDirectory>,
    /// `None` for a rollback.
    list: Option<EchConfigList>,
    key: Option<TsigKey>,
    way: Way,
}

/// What is to be done for one site.
struct Change {
    place: Place,
    before: HttpsRrset,
    after: HttpsRrset,
    history: Option<PublishHistory>,
    checked: Vec<String>,
    /// For a rollback: the file of the key that is published again.
    again: Option<String>,
}

impl Run {
    fn new(args: PublishArgs) -> Result<Self, Failure> {
        let resolver = args.network.resolver(&args.proxies)?;
        let access = match args.group_readable {
            true => KeyAccess::Group,
            false => KeyAccess::Owner,
        };
        let open = |path: &PathBuf| KeyDirectory::open(path).map(|found| found.with_access(access));
        let directory = args.keys.as_ref().map(open).transpose()?;
        let list = match args.rollback {
            true => None,
            false => Some(list(&args, directory.as_ref())?),
        };
        let key = args.tsig.as_deref().map(tsig_key).transpose()?;
        let way = match (args.dry_run, &key, &args.exec) {
            (true, ..) | (false, None, None) => Way::Print,
            (false, Some(_), _) => Way::Update,
            (false, None, Some(_)) => Way::Exec,
        };
        if way == Way::Print && args.wait {
            return Err(Failure::usage(
                "--wait: nothing is sent; give --tsig FILE or --exec COMMAND, without --dry-run",
            ));
        }
        Ok(Self {
            args,
            resolver,
            directory,
            list,
            key,
            way,
        })
    }

    /// No rotation goes on while a rollback changes which key is published.
    fn lock(&self) -> Result<Option<LockedKeyDirectory>, Failure> {
        let changes = self.args.rollback && self.way != Way::Print;
        let directory = self.directory.as_ref().filter(|_| changes);
        Ok(directory.map(KeyDirectory::lock).transpose()?)
    }

    /// What is to become of the records of a site, checked.
    async fn plan(&self, site: &str) -> Result<Change, Failure> {
        let place = Place::find(site, &self.args, &self.resolver).await?;
        let before = place.publisher.current(&place.site.owner).await?;
        let history = self.history(&place)?;
        let (after, again) = match &self.list {
            Some(list) => (self.with_list(&place, &before, list)?, None),
            None => self.former(&place, &before, history.as_ref())?,
        };
        let mut checked = Vec::new();
        if !self.args.no_check && after != before {
            let records = after.records(&place.site.owner)?;
            let options =
                CheckOptions::new(self.resolver.clone()).with_trust(self.args.network.trust()?);
            for list in after.lists() {
                let of_list = |record: &&Record| record.params.ech.as_ref() == Some(&list);
                let records: Vec<Record> = records.iter().filter(of_list).cloned().collect();
                let addresses = check_accepted(&place.site, &records, &list, &options).await?;
                checked.extend(addresses.iter().map(ToString::to_string));
            }
        }
        Ok(Change {
            place,
            before,
            after,
            history,
            checked,
            again,
        })
    }

    fn history(&self, place: &Place) -> Result<Option<PublishHistory>, Failure> {
        let owner = &place.site.owner;
        let path = match (&self.args.state, &self.directory) {
            (Some(path), _) => Some(path.clone()),
            (None, Some(directory)) => {
                Some(directory.path().join(PublishHistory::file_name(owner)))
            }
            (None, None) if self.args.rollback => {
                return Err(Failure::usage(format!(
                    "{owner}: --rollback needs the --keys DIR or --state FILE that was given when it was published"
                )));
            }
            (None, None) => None,
        };
        let open = |path| PublishHistory::open(path, owner);
        Ok(path.map(open).transpose()?)
    }

    fn with_list(
        &self,
        place: &Place,
        before: &HttpsRrset,
        list: &EchConfigList,
    ) -> Result<HttpsRrset, Failure> {
        if before.is_empty() {
            return place.first_record(list, &self.args);
        }
        if !self.args.alpn.is_empty() {
            output::note(&format!(
                "ech: note: {}: its records have their own alpn, which stays; --alpn is for a first record",
                place.site.owner
            ));
        }
        let ttl = self.args.ttl.unwrap_or(before.ttl());
        Ok(before.with_ech(&place.site.owner, list, ttl)?)
    }

    /// The records before the last publishing.
    fn former(
        &self,
        place: &Place,
        current: &HttpsRrset,
        history: Option<&PublishHistory>,
    ) -> Result<(HttpsRrset, Option<String>), Failure> {
        let no = |why: String| PublishError::NoRollback {
            owner: place.site.owner.clone(),
            why,
        };
        let Some(history) = history.filter(|history| !history.is_empty()) else {
            return Err(no("nothing was published with this --keys or --state".to_owned()).into());
        };
        let Some(change) = history.that_led_to(current) else {
            let path = history.path().display();
            return Err(no(format!(
                "its records are not those that were published last, as {path} has them: another program edited them"
            ))
            .into());
        };
        let mut again = None;
        if let Some(directory) = &self.directory {
            for list in change.before.lists() {
                again = directory.file_of(&list)?;
                if again.is_none() {
                    return Err(no(format!(
                        "the key that was published before is no longer in {}: no server could open hellos",
                        directory.path().display()
                    ))
                    .into());
                }
            }
        }
        Ok((change.before.clone(), again))
    }

    /// Does it, and tells what was done.
    async fn make(
        &self,
        change: Change,
        lock: Option<&mut LockedKeyDirectory>,
    ) -> Result<Value, Failure> {
        let Change {
            place,
            before,
            after,
            mut history,
            checked,
            again,
        } = change;
        let owner = &place.site.owner;
        let same = before == after && before.ttl() == after.ttl();
        let action = match self.way {
            Way::Print => "printed",
            _ if same => "unchanged",
            Way::Update => "sent",
            Way::Exec => "executed",
        };
        if self.way != Way::Print && !same {
            if let Some(history) = &mut history {
                let change = Publication {
                    before: before.clone(),
                    after: after.clone(),
                };
                history.begin(owner, change)?;
            }
            match &self.key {
                Some(key) => place.publisher.replace(owner, &before, &after, key).await?,
                None => self.exec(&place, &after)?,
            }
            if let Some(history) = &mut history {
                history.finish(owner)?;
            }
        }
        if let (Some(lock), Some(file)) = (lock, again) {
            // Of several sites the first one did it.
            let retiring =
                |key: &KeyStatus| key.entry.file == file && key.entry.state == KeyState::Retiring;
            if lock.status().iter().any(retiring) {
                lock.publish_again(&file)?;
            }
        }
        let mut shown = Vec::new();
        if self.args.wait {
            let everyone = self.everyone(&place).await?;
            shown = everyone.iter().map(WaitFor::name).collect();
            wait_until_shown(owner, &after, everyone, self.args.max_time).await?;
        }
        if !self.args.json {
            self.tell(&place, &before, &after, action, &checked, &shown)?;
        }
        Ok(json!({
            "owner": owner.to_string(),
            "zone": place.publisher.zone().to_string(),
            "server": place.publisher.server().to_string(),
            "action": action,
            "before": before.zone_lines(owner),
            "after": after.zone_lines(owner),
            "nsupdate": after.nsupdate_script(place.publisher.zone(), owner, &before),
            "accepted_by": checked,
            "shown_by": shown,
        }))
    }

    fn tell(
        &self,
        place: &Place,
        before: &HttpsRrset,
        after: &HttpsRrset,
        action: &str,
        checked: &[String],
        shown: &[String],
    ) -> Result<(), Failure> {
        let owner = &place.site.owner;
        if !checked.is_empty() {
            output::note(&format!("{owner}: accepted by {}", checked.join(", ")));
        }
        let mut text: String = after
            .zone_lines(owner)
            .iter()
            .map(|line| format!("{line}\n"))
            .collect();
        if self.way == Way::Print {
            let script = after.nsupdate_script(place.publisher.zone(), owner, before);
            text = format!("; Zone file\n{text}\n; For nsupdate -k KEYFILE\n{script}");
        } else {
            output::note(&format!(
                "{owner}: {action}, zone {} at {}",
                place.publisher.zone(),
                place.publisher.server()
            ));
        }
        if !shown.is_empty() {
            output::note(&format!("{owner}: shown by {}", shown.join(", ")));
        }
        output::stdout(text.as_bytes())
    }

    fn exec(&self, place: &Place, after: &HttpsRrset) -> Result<(), Failure> {
        let Some(text) = &self.args.exec else {
            return Ok(());
        };
        let owner = &place.site.owner;
        let values: Vec<String> = after
            .records(owner)?
            .iter()
            .map(ToString::to_string)
            .collect();
        let list = after.lists().first().map(EchConfigList::to_base64);
        let mut command = hook::shell(text);
        command
            .env("ECH_OWNER", format!("{owner}."))
            .env("ECH_ZONE", format!("{}.", place.publisher.zone()))
            .env("ECH_TTL", after.ttl().to_string())
            .env("ECH_RECORDS", values.join("\n"))
            .env("ECH_CONFIG_LIST", list.unwrap_or_default());
        hook::run(command).map_err(|why| {
            Failure::check(format!(
                "{owner}: --exec failed: {why}; the record counts as it was"
            ))
        })
    }

    async fn everyone(&self, place: &Place) -> Result<Vec<WaitFor>, Failure> {
        let publisher = &place.publisher;
        let servers = publisher
            .authoritative_servers(&self.resolver, self.args.ns_port)
            .await?;
        let mut everyone: Vec<WaitFor> = servers.into_iter().map(WaitFor::Server).collect();
        for uri in &self.args.resolver {
            everyone.push(WaitFor::Resolver(self.fresh_resolver(uri)?));
        }
        Ok(everyone)
    }

    /// A resolver that keeps no answers itself.
    fn fresh_resolver(&self, uri: &str) -> Result<Resolver, Failure> {
        let mut options = ResolverOptions::default().with_cache(0);
        if Resolver::is_encrypted_uri(uri) {
            let tls = self.args.network.tls(&self.args.proxies)?.build()?;
            options = options.with_tls(tls.plain_config()?);
        }
        Resolver::from_uri(uri, &options)
            .map_err(|error| Failure::usage(format!("--resolver {uri}: {error}")))
    }
}

fn list(args: &PublishArgs, directory: Option<&KeyDirectory>) -> Result<EchConfigList, Failure> {
    let given = args.ech_config.as_deref().map(input::ech_config);
    let given = given.transpose()?;
    match (given, directory) {
        (Some(list), Some(directory)) => match directory.file_of(&list)? {
            Some(_) => Ok(list),
            None => Err(Failure::content(format!(
                "{}: no key there is that of --ech-config ($ECH_CONFIG_LIST); give one without the other",
                directory.path().display()
            ))),
        },
        (Some(list), None) => Ok(list),
        (None, Some(directory)) => {
            let keys = directory.load()?;
            keys.retry_configs().cloned().ok_or_else(|| {
                Failure::read(format!(
                    "{}: no key is published",
                    directory.path().display()
                ))
            })
        }
        (None, None) => Err(Failure::usage("give --keys DIR or --ech-config LIST")),
    }
}

fn tsig_key(path: &Path) -> Result<TsigKey, Failure> {
    let shown = path.display();
    let bytes = echkit::server::read_secret_file(path)
        .map_err(|error| Failure::read(format!("{shown}: cannot be read: {error}")))?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Failure::content(format!("{shown}: not a TSIG key file: it is not text")))?;
    TsigKey::parse(text)
        .map_err(|error| Failure::content(format!("{shown}: not a TSIG key file: {error}")))
}
