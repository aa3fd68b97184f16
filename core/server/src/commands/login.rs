//! `spinor login`, `whoami`, `logout`, and `spinor user`.

use crate::{
    cli::{Login, Server, User},
    client::{Client, of},
    credentials::{Credentials, Tokens},
    show,
};
use anyhow::{Context, bail};
use serde_json::{Value, json};
use spinor_api::users::{Banned, Reason, UserView};
use spinor_identity::session::CLIENT_ID;
use std::time::{Duration, Instant};

/// How often is looked whether somebody has logged in.
const POLL: Duration = Duration::from_secs(1);

/// Logs somebody in: in a browser, on whichever machine.
pub async fn login(server: &Server, login: &Login) -> anyhow::Result<()> {
    let client = Client::anonymous(&server.server)?;
    let mut scope = vec![format!("vo:{}", login.vo)];
    scope.extend(login.group.iter().map(|group| format!("group:{group}")));
    scope.extend(login.property.iter().map(|property| format!("property:{property}")));
    let query = [("client_id", CLIENT_ID.to_owned()), ("scope", scope.join(" "))];
    let begun: Value = client.post_with("/api/auth/device", &query).await?;
    let field =
        |name: &str| begun[name].as_str().context("the server's answer is not what was expected");
    println!("To log in, open\n\n  {}\n", field("verification_uri_complete")?);
    println!("in a browser, on this machine or another; the code is {}.", field("user_code")?);
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("client_id", CLIENT_ID),
        ("device_code", field("device_code")?),
    ];
    let ends = Instant::now() + Duration::from_secs(begun["expires_in"].as_u64().unwrap_or(600));
    loop {
        if Instant::now() > ends {
            bail!("nobody logged in within ten minutes: begin anew");
        }
        tokio::time::sleep(POLL).await;
        let (status, body) = client.form("/api/auth/token", &form).await?;
        if body["error"] == "authorization_pending" {
            continue;
        }
        let Some(tokens) = Tokens::of(&body).filter(|_| status.is_success()) else {
            bail!("{}", body["detail"].as_str().unwrap_or("the server gives no tokens"));
        };
        Credentials::open()?.set(client.server(), Some(tokens))?;
        return whoami(server).await;
    }
}

/// Says who is logged in.
pub async fn whoami(server: &Server) -> anyhow::Result<()> {
    let who: Value = Client::from_options(server).await?.get("/api/auth/userinfo").await?;
    if server.json {
        return show::json(&who);
    }
    let properties: Vec<&str> =
        who["properties"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let text = |name: &str| who[name].as_str().unwrap_or_default().to_owned();
    println!(
        "{} of VO {}, in group {} ({})",
        text("preferred_username"),
        text("vo"),
        text("dirac_group"),
        properties.join(", ")
    );
    Ok(())
}

/// Ends the login.
pub async fn logout(server: &Server) -> anyhow::Result<()> {
    let client = Client::anonymous(&server.server)?;
    let url = client.server();
    let mut credentials = Credentials::open()?;
    let Some(tokens) = credentials.get(url).cloned() else {
        return said(server, url, "nobody is logged in at");
    };
    let form = [("token", tokens.refresh_token.as_str()), ("token_type_hint", "refresh_token")];
    let told = client.form("/api/auth/revoke", &form).await;
    credentials.set(url, None)?;
    let (status, body) = told.context("the login is forgotten here, but not at the server")?;
    if !status.is_success() {
        let why = body["detail"].as_str().unwrap_or("it refuses");
        bail!("the login is forgotten here; the server says: {why}");
    }
    said(server, url, "logged out of")
}

fn said(server: &Server, url: &str, what: &str) -> anyhow::Result<()> {
    if server.json {
        return show::json(&json!({"server": url, "done": what}));
    }
    println!("{what} {url}");
    Ok(())
}

/// Does what the command line says about people.
pub async fn user(server: &Server, command: User) -> anyhow::Result<()> {
    let client = Client::from_options(server).await?;
    match command {
        User::List { vo } => {
            let users: Vec<UserView> =
                client.get(&format!("/api/users?{}", of(vo.as_ref()))).await?;
            if server.json {
                return show::json(&users);
            }
            show::table(
                ["user", "sub", "asked", "entitlements", "shut out"],
                users.into_iter().map(|u| {
                    let checked = u.checked.map(|time| show::time(&time)).unwrap_or_default();
                    let sub = u.sub.unwrap_or_default();
                    [u.user, sub, checked, u.entitlements.join("\n"), u.banned.unwrap_or_default()]
                }),
            );
        }
        User::Ban { user, reason, vo } => {
            let path = format!("/api/users/{user}/ban?{}", of(vo.as_ref()));
            let done: Banned = client.put(&path, &Reason { reason }).await?;
            if server.json {
                return show::json(&done);
            }
            println!("{user} is shut out; {} jobs killed", done.killed);
        }
        User::Unban { user, vo } => {
            client.delete_only(&format!("/api/users/{user}/ban?{}", of(vo.as_ref()))).await?;
            if server.json {
                return show::json(&json!({"user": user, "banned": null}));
            }
            println!("{user} is let in again");
        }
    }
    Ok(())
}
