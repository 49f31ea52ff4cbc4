//! What may be written, and what is said of the rest.

use super::*;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// What is checked, by the parts that a test is about.
#[derive(Default)]
struct Sheet {
    interval: Option<&'static str>,
    aws_regions: Vec<String>,
    aws_org: AwsOrgSettings,
    gcp: GcpSection,
    azure: AzureSection,
}

impl Sheet {
    fn check(&self) -> Result<Wanted, InvalidDiscovery> {
        Wanted::check(Written {
            interval: self.interval.unwrap_or("15m"),
            aws_regions: &self.aws_regions,
            aws_org: &self.aws_org,
            gcp: &self.gcp,
            azure: &self.azure,
        })
    }
}

#[test]
fn nothing_is_read_unless_somebody_says_so() {
    let wanted = Sheet::default().check().unwrap();
    assert_eq!((wanted.aws, wanted.gcp, wanted.azure), (None, None, None));
    let aws_regions = names(&["us-east-1", "eu-central-1", "us-east-1"]);
    let wanted = Sheet { aws_regions, ..Sheet::default() }.check().unwrap();
    assert_eq!(wanted.aws.unwrap().regions, ["eu-central-1", "us-east-1"]);
}

#[test]
fn what_cannot_be_used_is_named() {
    let bad = |sheet: Sheet| sheet.check().unwrap_err();
    let interval = Sheet { interval: Some("1s"), ..Sheet::default() };
    assert_eq!(bad(interval), InvalidDiscovery::IntervalBounds);
    let odd = Sheet { aws_regions: names(&["EU/../x"]), ..Sheet::default() };
    assert_eq!(bad(odd), InvalidDiscovery::Regions);
    let on = || AwsOrgSettings { enabled: true, ..AwsOrgSettings::default() };
    let with = |aws_org, region: &[&str]| Sheet {
        aws_org,
        aws_regions: names(region),
        ..Sheet::default()
    };
    assert_eq!(bad(with(on(), &[])), InvalidDiscovery::NoRegions);
    let role = AwsOrgSettings { role_name: "a/b".into(), ..on() };
    assert_eq!(bad(with(role, &["us-east-1"])), InvalidDiscovery::Role);
    let except = AwsOrgSettings { exclude_accounts: names(&["12"]), ..on() };
    assert_eq!(bad(with(except, &["us-east-1"])), InvalidDiscovery::Accounts);
}

#[test]
fn google_cloud_is_checked() {
    let gcp = |gcp: GcpSection| Sheet { gcp, ..Sheet::default() }.check();
    let on = || GcpSection { enabled: true, ..GcpSection::default() };
    let wanted = gcp(on()).unwrap().gcp.unwrap();
    assert_eq!(wanted.endpoint.origin(), "https://compute.googleapis.com");
    assert!(wanted.projects.is_empty() && wanted.regions.is_empty());
    let projects = names(&["my-project-1", "example.com:old"]);
    assert!(gcp(GcpSection { projects, ..on() }).is_ok());
    let projects = names(&["a/b"]);
    assert_eq!(gcp(GcpSection { projects, ..on() }), Err(InvalidDiscovery::Projects));
    let regions = names(&["Europe"]);
    assert_eq!(gcp(GcpSection { regions, ..on() }), Err(InvalidDiscovery::GcpRegions));
    let at = |url: &str| gcp(GcpSection { endpoint: Some(url.into()), ..on() });
    assert_eq!(at("http://10.0.0.1"), Err(InvalidDiscovery::PlainEndpoint("gcp")));
    let why = at("https://host/path").unwrap_err().to_string();
    assert_eq!(why, "gcp.endpoint must end after host and port: the agent adds the paths itself");
    assert!(at("http://127.0.0.1:9000").is_ok());
}

#[test]
fn azure_is_checked() {
    let azure = |azure: AzureSection| Sheet { azure, ..Sheet::default() }.check();
    let on = || AzureSection { enabled: true, ..AzureSection::default() };
    let one = "0B1F6471-1bf0-4dda-aec3-111122223333";
    let subscriptions = names(&[one]);
    let wanted = azure(AzureSection { subscriptions, ..on() }).unwrap().azure.unwrap();
    assert_eq!(wanted.subscriptions, [one.to_lowercase()]);
    assert_eq!(wanted.endpoint.origin(), "https://management.azure.com");
    for odd in ["x", "0b1f6471-1bf0-4dda-aec3-11112222333", "0b1f6471a1bf0-4dda-aec3-111122223333"]
    {
        let subscriptions = names(&[odd]);
        let refused = azure(AzureSection { subscriptions, ..on() });
        assert_eq!(refused, Err(InvalidDiscovery::Subscriptions), "{odd}");
    }
    let regions = names(&["West Europe"]);
    assert_eq!(azure(AzureSection { regions, ..on() }), Err(InvalidDiscovery::AzureRegions));
    let endpoint = Some("http://management.example".to_owned());
    let plain = azure(AzureSection { endpoint, ..on() });
    assert_eq!(plain, Err(InvalidDiscovery::PlainEndpoint("azure")));
}
