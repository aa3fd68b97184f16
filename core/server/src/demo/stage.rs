//! The demo's server, and those who use it.

use super::{Taken, campaign::Campaign};
use crate::{client::Client, configuration::Configuration, description, wiring};
use anyhow::Context;
use spinor_api::{
    App,
    administration::{Applied, PluginView},
    jobs::SubmittedJobs,
};
use spinor_identity::subject::{LOCAL, Member, Subject};
use spinor_lifecycle::Pace;
use spinor_model::registry::VoDocument;
use std::{path::Path, sync::Arc, time::Duration};
use tokio::{sync::oneshot, task::JoinHandle};

/// The demo's server.
pub struct Stage {
    /// Where it is reached.
    pub url: String,
    /// Its operator.
    pub operator: Client,
    app: Arc<App>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<anyhow::Result<()>>,
}

/// Everything is closer together than on a grid.
const PACE: Pace = Pace {
    heartbeat: Duration::from_millis(500),
    poll: Duration::from_millis(250),
    idle: Duration::from_secs(3),
    supply: Duration::from_millis(300),
    tick: Duration::from_millis(200),
};

const TOKEN: Duration = Duration::from_secs(12 * 3600);

impl Stage {
    /// Starts a server over `data`.
    pub async fn set(data: &Path, database: Option<String>) -> anyhow::Result<Self> {
        let configuration = Configuration { pace: PACE, ..Configuration::plain(data, database)? };
        let running = wiring::start(&configuration).await?;
        let (url, app) = (running.url.clone(), running.app.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(running.serve(async move { drop(stopped.await) }));
        let subject = Subject::Operator { name: "demo".to_owned() };
        let operator = client(&app, &url, &subject)?;
        Ok(Self { url, operator, app, stop, serving })
    }

    /// Uploads the example plugins and puts the campaign's VO documents in force.
    pub async fn apply(&self, campaign: &Campaign) -> anyhow::Result<()> {
        for (package, component) in spinor_bundle::examples() {
            let uploaded: PluginView = self
                .operator
                .post_bytes("/api/plugins", component.to_vec())
                .await
                .with_context(|| format!("uploading {package}"))?;
            println!("plugin {} {} uploaded", uploaded.plugin, uploaded.version);
        }
        for (document, text) in campaign.vos()? {
            let route = format!("/api/vos/{}", document.vo);
            let applied: Applied = self.operator.put_text(&route, text).await?;
            println!("VO {} is in force, its bindings:", applied.vo);
            crate::show::bindings(&applied.bindings);
        }
        Ok(())
    }

    /// Submits what the campaign says, each in its owner's name.
    pub async fn submit(&self, campaign: &Campaign) -> anyhow::Result<Vec<Taken>> {
        let vos = campaign.vos()?;
        let mut taken = Vec::new();
        for submission in &campaign.submissions {
            let document = vos.iter().map(|(document, _)| document);
            let document = document
                .clone()
                .find(|document| document.vo == submission.vo)
                .with_context(|| format!("the campaign has no VO {}", submission.vo))?;
            let client = self.member(document, submission)?;
            let file = campaign.directory.join(&submission.description);
            let text = std::fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            let description = description::prepare(&client, &text, &campaign.directory).await?;
            let key = file.display().to_string();
            let submitted: SubmittedJobs =
                client.post_once("/api/jobs", &key, &description).await?;
            let jobs = submitted.job_ids;
            println!("{} submits {} job(s): {}", submission.user, jobs.len(), submission.what);
            taken.push(Taken { submission: submission.clone(), jobs, client });
        }
        Ok(taken)
    }

    fn member(
        &self,
        document: &VoDocument,
        submission: &super::Submission,
    ) -> anyhow::Result<Client> {
        let group = document
            .groups
            .get(&submission.group)
            .with_context(|| format!("VO {} has no group {}", document.vo, submission.group))?;
        let subject = Subject::Member(Member {
            vo: submission.vo.clone(),
            group: submission.group.clone(),
            user: submission.user.clone(),
            sub: format!("{LOCAL}{}", submission.user),
            properties: group.properties.clone(),
        });
        client(&self.app, &self.url, &subject)
    }

    /// Sends pilots home and stops the server.
    pub async fn clear(self) {
        if let Err(error) = self.app.lifecycle.cancel_pilots().await {
            tracing::warn!(%error, "pilots may be left behind");
        }
        let _ = self.stop.send(());
        // Open connections of pilots must not hold the end up.
        drop(tokio::time::timeout(Duration::from_secs(5), self.serving).await);
    }
}

fn client(app: &App, url: &str, subject: &Subject) -> anyhow::Result<Client> {
    Client::new(url, &app.keys.issue(subject, TOKEN, app.lifecycle.now())?)
}
