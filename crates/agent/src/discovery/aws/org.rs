//! The accounts of an AWS organisation, and a role assumed in each.

use std::{sync::Arc, time::Duration};

use argosy_domain::limits::INGEST_ACCOUNTS_MAX;
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use futures::{StreamExt as _, stream};
use serde_json::json;

use super::{
    AwsSettings,
    api::{Api, Call},
};
use crate::discovery::{AwsOrgSettings, Failure, Member};

const STS: (&str, &str) = ("sts", "2011-06-15");
/// How long an assumed role is good for: longer than a run takes.
const ROLE_LIFE: Duration = Duration::from_secs(3600);
/// Roles that are assumed at once.
const AT_ONCE: usize = 4;

/// An account, and what opens it or why nothing does.
pub(super) struct Account {
    pub(super) member: Member,
    pub(super) credentials: Result<SharedCredentialsProvider, Failure>,
}

/// Every active account that is not left out. One whose role cannot be assumed says why.
pub(super) async fn accounts(
    api: &Arc<Api>,
    credentials: &SharedCredentialsProvider,
    org: &AwsOrgSettings,
    settings: &AwsSettings,
) -> Result<Vec<Account>, Failure> {
    let region = settings.regions.first().map(String::as_str).unwrap_or_default();
    let own = own_account(api, credentials, region).await?;
    let members = members(api, credentials, org).await?;
    let account = |member: Member| async {
        let credentials = if member.id == own {
            Ok(credentials.clone())
        } else {
            assume(api, credentials, org, (region, &member.id)).await
        };
        Account { member, credentials }
    };
    Ok(stream::iter(members).map(account).buffer_unordered(AT_ONCE).collect().await)
}

/// The account that the credentials belong to: no role is assumed there.
async fn own_account(
    api: &Api,
    credentials: &SharedCredentialsProvider,
    region: &str,
) -> Result<String, Failure> {
    let what = ("GetCallerIdentity", "sts:GetCallerIdentity");
    let answer = api.xml(credentials, Call::query(STS, region, what, &[])).await?;
    let result = answer.child("GetCallerIdentityResult");
    let account = result.and_then(|result| result.text("Account"));
    Ok(account.unwrap_or_default().to_owned())
}

async fn members(
    api: &Api,
    credentials: &SharedCredentialsProvider,
    org: &AwsOrgSettings,
) -> Result<Vec<Member>, Failure> {
    let (mut members, mut next) = (Vec::new(), None::<String>);
    loop {
        let body = next.take().map_or_else(|| json!({}), |next| json!({ "NextToken": next }));
        let what = ("ListAccounts", "organizations:ListAccounts");
        let page = api.json(credentials, Call::json(what, &body)).await?;
        for account in page["Accounts"].as_array().into_iter().flatten() {
            let said = |name: &str| account[name].as_str().unwrap_or_default().to_owned();
            let member = Member { id: said("Id"), name: said("Name") };
            if said("Status") == "ACTIVE" && !org.exclude_accounts.contains(&member.id) {
                members.push(member);
            }
        }
        next = page["NextToken"].as_str().map(str::to_owned);
        if next.is_none() || members.len() > INGEST_ACCOUNTS_MAX * 10 {
            return Ok(members);
        }
    }
}

async fn assume(
    api: &Api,
    credentials: &SharedCredentialsProvider,
    org: &AwsOrgSettings,
    (region, account): (&str, &str),
) -> Result<SharedCredentialsProvider, Failure> {
    let partition = match region {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    };
    let role = format!("arn:{partition}:iam::{account}:role/{}", org.role_name);
    let life = ROLE_LIFE.as_secs().to_string();
    let mut fields = vec![
        ("RoleArn", role.as_str()),
        ("RoleSessionName", "argosy-discovery"),
        ("DurationSeconds", &life),
    ];
    fields.extend(org.external_id.as_deref().map(|id| ("ExternalId", id)));
    let what = ("AssumeRole", "sts:AssumeRole");
    let answer = api.xml(credentials, Call::query(STS, region, what, &fields)).await;
    let answer = answer.map_err(|failure| {
        let permission = failure.permission.map(|_| format!("sts:AssumeRole on {role}"));
        Failure { permission, ..failure }
    })?;
    let given = answer.at(&["AssumeRoleResult", "Credentials"]);
    let text = |name| given.and_then(|given| given.text(name)).map(str::to_owned);
    let (Some(id), Some(secret)) = (text("AccessKeyId"), text("SecretAccessKey")) else {
        let error = format!("AWS gave no credentials for {role}");
        return Err(Failure { error, call: Some("AssumeRole".to_owned()), permission: None });
    };
    let assumed = Credentials::new(id, secret, text("SessionToken"), None, "assumed role");
    Ok(SharedCredentialsProvider::new(assumed))
}
