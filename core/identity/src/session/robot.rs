//! Robots: programs that show a secret of their own.

use super::{SessionError, Sessions, grant::ACCESS};
use crate::{
    secret::hash,
    subject::{Member, ROBOT, Subject},
};

impl Sessions {
    /// An access token for a robot of the scope's VO, and the seconds that it counts. There is nothing to
    /// refresh: it shows its secret again.
    ///
    /// # Errors
    /// If the VO has no such robot, the secret is another, or the name belongs to a person.
    pub async fn robot_token(
        &self,
        name: &str,
        secret: &str,
        scope: &str,
    ) -> Result<(String, u64), SessionError> {
        let refused = || SessionError::Unauthorized("the robot or its secret is not known".into());
        let vo = self.scope(scope)?.vo;
        let document = self.document(&vo)?;
        let user = name.parse().map_err(|_| refused())?;
        let robot = document.robots.get(&user).ok_or_else(refused)?;
        if hash(secret) != robot.secret_sha256 {
            return Err(refused());
        }
        let Some(group) = document.groups.get(&robot.group) else { return Err(refused()) };
        if self.is_banned(&vo, &user) {
            return Err(SessionError::Unauthorized(format!("{user} is shut out of VO {vo}")));
        }
        if self.store.users(&vo).await?.iter().any(|person| person.user == user) {
            return Err(SessionError::Forbidden(format!(
                "a person of VO {vo} is called {user}: give the robot another name"
            )));
        }
        let (sub, properties) = (format!("{ROBOT}{user}"), group.properties.clone());
        let group = robot.group.clone();
        let member = Subject::Member(Member { vo, group, user, sub, properties });
        Ok((self.keys.issue(&member, ACCESS, self.now())?, ACCESS.as_secs()))
    }
}
