//! People and their logins.

use serde::{Deserialize, Serialize};
use spinor_model::{
    id::{Digest, UserName, VoName},
    time::Timestamp,
};
use std::collections::BTreeSet;

/// Somebody who has logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// Their VO.
    pub vo: VoName,
    /// How the VO's provider numbers them.
    pub sub: String,
    /// What they are called here, as nobody else in the VO is.
    pub user: UserName,
    /// What the provider last said of their memberships.
    pub entitlements: BTreeSet<String>,
    /// When it said so.
    pub checked: Timestamp,
    /// Lets the provider be asked again; sealed.
    pub provider_token: Option<String>,
    /// When they first came.
    pub registered: Timestamp,
}

/// Somebody who is shut out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// Their VO.
    pub vo: VoName,
    /// Who.
    pub user: UserName,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// How far a login is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowStage {
    /// Somebody is to log in.
    Begun,
    /// Somebody has.
    Ready,
    /// The tokens have been fetched.
    Used,
}

impl FlowStage {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Ready => "ready",
            Self::Used => "used",
        }
    }
}

/// A login under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowRecord {
    /// Hash of the secret that its client holds.
    pub flow: Digest,
    /// What a person types or follows, in a device flow.
    pub user_code: Option<String>,
    /// Hash of what goes to the provider and comes back.
    pub state: Option<Digest>,
    /// How far it is.
    pub stage: FlowStage,
    /// The rest, as JSON.
    pub body: String,
    /// When it is over.
    pub expires: Timestamp,
}

/// By what a login is found.
#[derive(Debug, Clone)]
pub enum FlowKey {
    /// What its client holds.
    Flow(Digest),
    /// What a person typed.
    UserCode(String),
    /// What came back from the provider.
    State(Digest),
}

/// A refresh token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshRecord {
    /// Its number.
    pub jti: String,
    /// Whose.
    pub vo: VoName,
    /// Whose.
    pub sub: String,
    /// For what.
    pub scope: String,
    /// Whether it counts no more.
    pub revoked: bool,
    /// When it is over.
    pub expires: Timestamp,
}
