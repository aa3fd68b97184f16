//! Who may do what: one table.

use crate::subject::Subject;
use std::fmt;

/// What a route needs. Each route names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Submit jobs in one's own name.
    SubmitJobs,
    /// See jobs of one's VO.
    ReadJobs,
    /// See what a job was given and says of itself: one of one's VO; a payload's own.
    ReadJob,
    /// Kill and reschedule jobs: one's own, or the VO's for its administrators; generic pilots send
    /// the VO's back to the start.
    ManageJobs,
    /// Upload sandboxes; payloads, what their job leaves.
    WriteSandboxes,
    /// Download sandboxes.
    ReadSandboxes,
    /// Fetch and run jobs.
    Pilot,
    /// Say how one's own job fares.
    ReportJob,
    /// Get the community's token for one's own job's data.
    FetchDataToken,
    /// Say how jobs fare that are run elsewhere: one's own, or the VO's for its administrators and
    /// generic pilots.
    ReportJobs,
    /// Tell of pilots that somebody else sends.
    RegisterPilots,
    /// See what concerns one's login: who one is, and one's refresh tokens.
    OwnLogin,
    /// See how one's VO is set up.
    ReadVo,
    /// Shut people out of one's VO, and let them in again.
    ManageUsers,
    /// See pilots.
    ReadPilots,
    /// See plugins and bindings.
    ReadPlugins,
    /// See VO documents and usage.
    ReadRegistry,
    /// Push plugins for one's VO, bind them there within what the operator granted, let them in and
    /// put them back.
    ManagePolicies,
    /// See what plugins of one's VO wrote.
    ReadPluginLogs,
    /// Change VO documents and grants; plugins for everyone.
    Operate,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::SubmitJobs,
        Self::ReadJobs,
        Self::ReadJob,
        Self::ManageJobs,
        Self::WriteSandboxes,
        Self::ReadSandboxes,
        Self::Pilot,
        Self::ReportJob,
        Self::FetchDataToken,
        Self::ReportJobs,
        Self::RegisterPilots,
        Self::OwnLogin,
        Self::ReadVo,
        Self::ManageUsers,
        Self::ReadPilots,
        Self::ReadPlugins,
        Self::ReadRegistry,
        Self::ManagePolicies,
        Self::ReadPluginLogs,
        Self::Operate,
    ];
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Whether a subject has a permission. What it has it for (its VO, its own jobs) is checked where
/// the thing is known.
pub fn may(subject: &Subject, permission: Permission) -> bool {
    use Permission::*;
    match subject {
        Subject::Operator { .. } => matches!(
            permission,
            ReadJobs
                | ReadJob
                | ManageJobs
                | ReadSandboxes
                | ReadPilots
                | ReadPlugins
                | ReadRegistry
                | ManagePolicies
                | ReadPluginLogs
                | ReportJobs
                | RegisterPilots
                | ManageUsers
                | Operate
        ),
        Subject::Member(member) => {
            let has = |property: &str| member.properties.contains(property);
            match permission {
                ReadJobs | ReadJob | ReadPlugins | ReadSandboxes | OwnLogin | ReadVo => true,
                SubmitJobs | WriteSandboxes => has("NormalUser"),
                ManageJobs | ReportJobs => {
                    has("NormalUser") || has("JobAdministrator") || has("GenericPilot")
                }
                RegisterPilots => has("GenericPilot") || has("ServiceAdministrator"),
                ReadPilots => {
                    has("NormalUser") || has("JobAdministrator") || has("ServiceAdministrator")
                }
                ManageUsers => has("UserManager"),
                ReadRegistry => has("JobAdministrator") || has("PolicyManager"),
                ManagePolicies | ReadPluginLogs => has("PolicyManager"),
                Pilot | ReportJob | FetchDataToken | Operate => false,
            }
        }
        Subject::Pilot(_) => matches!(permission, Pilot | ReadSandboxes | WriteSandboxes),
        Subject::Job { .. } => matches!(
            permission,
            ReadJob | ReportJob | ReportJobs | FetchDataToken | ReadSandboxes | WriteSandboxes
        ),
    }
}

/// Whether a subject may manage every job of its VO, not only its own.
pub fn administers_jobs(subject: &Subject) -> bool {
    match subject {
        Subject::Operator { .. } => true,
        Subject::Member(member) => member.properties.contains("JobAdministrator"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::Member;

    fn member(property: &str) -> Subject {
        Subject::Member(Member {
            vo: "aurora".parse().unwrap(),
            group: "g".parse().unwrap(),
            user: "alice".parse().unwrap(),
            sub: "alice".to_owned(),
            properties: [property.to_owned()].into(),
        })
    }

    #[test]
    fn only_the_operator_operates_and_nobody_impersonates_a_pilot() {
        let operator = Subject::Operator { name: "o".to_owned() };
        assert!(may(&operator, Permission::Operate));
        for subject in ["NormalUser", "JobAdministrator", "PolicyManager"].map(member) {
            assert!(!may(&subject, Permission::Operate));
            assert!(!may(&subject, Permission::Pilot));
        }
        assert!(!may(&operator, Permission::Pilot));
        assert!(!may(&operator, Permission::SubmitJobs));
    }

    #[test]
    fn a_member_without_properties_only_looks() {
        let subject = member("Nothing");
        let allowed: Vec<_> = Permission::ALL.into_iter().filter(|p| may(&subject, *p)).collect();
        use Permission::*;
        assert_eq!(allowed, [ReadJobs, ReadJob, ReadSandboxes, OwnLogin, ReadVo, ReadPlugins]);
    }
}
