//! `spinor token`: on the server's own machine, with the server's own key.

use crate::{
    cli::{Issue, Token},
    configuration::database,
    wiring,
};
use anyhow::{Context, bail};
use spinor_identity::{
    keys::KeyFile,
    secret,
    subject::{LOCAL, Member, Subject},
    token::Keys,
};
use spinor_model::{
    id::{GroupName, UserName, VoName},
    time::{Clock, SystemClock},
};
use spinor_store::{RegistryStore, sql::SqlStore};
use std::time::Duration;

/// Does what the command line says.
pub async fn run(command: Token) -> anyhow::Result<()> {
    let issue = match command {
        Token::Issue(issue) => issue,
        Token::Robot => {
            let secret = secret::fresh();
            println!("secret: {secret}\nsecret_sha256 = \"{}\"", secret::hash(&secret));
            return Ok(());
        }
        Token::Rotate { data, files, keep } => {
            let names = KeyFile::rotate(&wiring::key_file(files.as_ref().unwrap_or(&data)), keep)?;
            println!("{} signs now; tokens of {} keys count", names[0], names.len());
            return Ok(());
        }
    };
    let key = wiring::key_file(issue.files.as_ref().unwrap_or(&issue.data));
    let keys = Keys::existing(&key, "spinor").with_context(|| {
        format!(
            "cannot read {}: run this on the server's machine, with its --data, after `spinor serve` has run once",
            key.display()
        )
    })?;
    let subject = match (&issue.operator, &issue.vo, &issue.group, &issue.user) {
        (Some(name), ..) => Subject::Operator { name: name.clone() },
        (None, Some(vo), Some(group), Some(user)) => {
            member(&issue, vo.parse()?, group.parse()?, user.parse()?).await?
        }
        _ => bail!("say for whom: --operator NAME, or --vo, --group and --user"),
    };
    let lifetime = Duration::from_secs(issue.hours.saturating_mul(3600));
    println!("{}", keys.issue(&subject, lifetime, SystemClock.now())?);
    Ok(())
}

/// A member as the VO's document in force has them.
async fn member(
    issue: &Issue,
    vo: VoName,
    group: GroupName,
    user: UserName,
) -> anyhow::Result<Subject> {
    let store = SqlStore::open(&database(&issue.data, issue.database.clone())?).await?;
    let documents = store.documents().await?;
    let document = documents.into_iter().map(|stored| stored.document).find(|d| d.vo == vo);
    let document =
        document.with_context(|| format!("there is no VO {vo}: `spinor apply` its document"))?;
    let Some(found) = document.groups.get(&group) else {
        let known: Vec<_> = document.groups.keys().map(ToString::to_string).collect();
        bail!("VO {vo} has no group {group}; it has {}", known.join(", "));
    };
    if !found.users.contains(&user) {
        bail!("{user} is not in group {group} of VO {vo}: add them to `groups.{group}.users`");
    }
    let (sub, properties) = (format!("{LOCAL}{user}"), found.properties.clone());
    Ok(Subject::Member(Member { vo, group, user, sub, properties }))
}
