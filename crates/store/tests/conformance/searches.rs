//! Searches in resources: by outlines, above them, beside them, and while they are made.

use argosy_domain::{
    id::AccountId,
    resource::{Resource, ResourceStatus},
};
use argosy_store::{PageRequest, ResourceFilter};

use crate::{
    common::{Db, at, conformance, id, org},
    discovery::{deliver, end, read, vpc},
};

conformance!(
    described_or_not_the_same_is_found,
    what_is_described_is_not_read_row_by_row,
    what_is_renamed_is_found_at_once,
    a_stretch_that_is_touched_while_it_is_described_does_not_count,
    what_comes_late_is_found_and_what_is_too_much_is_cut,
    organisations_find_their_own,
);

const ROWS: u32 = 16;

/// Describes all that can be; answers how many steps it took.
async fn describe(db: &Db, before: i64) -> u32 {
    let mut steps = 0;
    while step(db, before).await {
        steps += 1;
        assert!(steps < 500, "it never ends");
    }
    steps
}

async fn step(db: &Db, before: i64) -> bool {
    let mut reader = db.store.read("index").await.unwrap();
    let stretch = reader.resources().read_stretch(&org(), ROWS * 4).await.unwrap();
    drop(reader);
    match stretch {
        Some(stretch) => {
            db.write(async |tx| tx.resources().keep_stretch(&org(), stretch).await).await;
            true
        }
        None => {
            db.write(async |tx| tx.resources().add_stretch(&org(), ROWS, at(before)).await).await
        }
    }
}

fn q(q: &str) -> ResourceFilter {
    ResourceFilter { q: Some(q.into()), ..ResourceFilter::default() }
}

/// The names that are found, page by page, in the order of the list.
async fn found(db: &Db, filter: &ResourceFilter, limit: u32) -> Vec<String> {
    let mut reader = db.store.read("list").await.unwrap();
    let (mut names, mut page) = (Vec::new(), PageRequest::first(limit));
    loop {
        let part = reader.resources().list(&org(), filter, &page).await.unwrap();
        names.extend(part.items.into_iter().map(|row| row.resource.name));
        let Some(next) = part.next else { return names };
        page.after = Some(next);
    }
}

/// A fleet of networks, a part of which is stale.
async fn fill(db: &Db) {
    let some = |from: usize, to: usize| -> Vec<Resource> {
        let one = |n: usize| {
            let resource_type = if n.is_multiple_of(5) { "vpc" } else { "subnet" };
            let provider = if n.is_multiple_of(7) { "gcp" } else { "aws" };
            let cidr = Some(format!("10.{}.{}.0/24", n / 100, n % 100));
            let name = format!("{}-{n:03}-Ünit", if n.is_multiple_of(3) { "web" } else { "data" });
            let (provider, resource_type) = (provider.into(), resource_type.into());
            Resource { provider, resource_type, cidr, ..vpc(&name, ["eu", "us"][n % 2]) }
        };
        (from..to).map(one).collect()
    };
    for (chunk, from) in (0..).zip((0_usize..200).step_by(50)) {
        deliver(db, "fill", chunk, &some(from, from + 50), 20 + i64::from(chunk)).await;
    }
    end(db, "fill", &[], 30).await;
    let kept: Vec<_> = some(0, 200).into_iter().filter(|one| one.region == "eu").collect();
    deliver(db, "again", 0, &kept[10..], 40).await;
    assert_eq!(
        end(db, "again", &read(&["eu"]), 41).await,
        10 - 2,
        "those of gcp are not looked at"
    );
}

fn filters() -> Vec<ResourceFilter> {
    let texts = [
        None,
        Some("web"),
        Some("WEB-0"),
        Some("-09"),
        Some("10.1.4"),
        Some("a-1"),
        Some("ünit"),
        Some("zz"),
        Some("7"),
    ];
    let mut all = Vec::new();
    for q in texts {
        for (provider, region) in
            [(None, None), (Some("gcp"), None), (None, Some("eu")), (Some("azure"), Some("us"))]
        {
            for resource_type in [None, Some("vpc")] {
                for status in [None, Some(ResourceStatus::Active), Some(ResourceStatus::Stale)] {
                    all.push(ResourceFilter {
                        account: resource_type.map(|_| AccountId::DEFAULT),
                        provider: provider.map(str::to_owned),
                        region: region.map(str::to_owned),
                        resource_type: resource_type.map(str::to_owned),
                        status,
                        q: q.map(str::to_owned),
                        roots: false,
                    });
                }
            }
        }
    }
    all
}

async fn described_or_not_the_same_is_found(db: Db) {
    fill(&db).await;
    let mut before = Vec::new();
    for filter in filters() {
        before.push(found(&db, &filter, 50).await);
    }
    assert!(before.iter().filter(|names| !names.is_empty()).count() > 40);
    // The newest fifty are not described, and stay so.
    assert!(describe(&db, 23).await >= 18);
    for (filter, before) in filters().iter().zip(&before) {
        assert_eq!(&found(&db, filter, 50).await, before, "{filter:?}");
    }
    for filter in filters().iter().step_by(5) {
        let before = found(&db, filter, 500).await;
        assert_eq!(found(&db, filter, 7).await, before, "{filter:?}");
    }
}

/// Whoever wipes the outlines makes everything that they describe unfindable: so they are asked.
async fn what_is_described_is_not_read_row_by_row(db: Db) {
    fill(&db).await;
    describe(&db, 23).await;
    assert_eq!(found(&db, &q("web-027"), 9).await.len(), 1);
    let pair = ResourceFilter {
        provider: Some("gcp".into()),
        resource_type: Some("vpc".into()),
        ..ResourceFilter::default()
    };
    assert_eq!(found(&db, &pair, 50).await.len(), 6);
    db.raw("DELETE FROM resource_postings WHERE bucket < 128").await;
    assert_eq!(found(&db, &q("web-027"), 9).await, Vec::<String>::new());
    assert_eq!(found(&db, &pair, 50).await.len(), 1, "those that are above all stretches");
    assert_eq!(found(&db, &q("web-198"), 9).await.len(), 1);
}

async fn what_is_renamed_is_found_at_once(db: Db) {
    fill(&db).await;
    describe(&db, 23).await;
    let renamed = |name: &str| Resource {
        provider: "aws".into(),
        resource_type: "subnet".into(),
        resource_id: "vpc-web-027-Ünit".into(),
        ..vpc(name, "us")
    };
    deliver(&db, "names", 0, &[renamed("database")], 50).await;
    assert_eq!(found(&db, &q("TABAS"), 9).await, ["database"]);
    assert_eq!(found(&db, &q("web-027"), 9).await, ["database"], "its id is what it was");
    assert_eq!(describe(&db, 23).await, 1, "one stretch is described again");
    assert_eq!(found(&db, &q("TABAS"), 9).await, ["database"]);
    let other = Resource { cidr: Some("192.0.2.0/24".into()), ..renamed("database") };
    deliver(&db, "names", 1, &[other], 51).await;
    assert_eq!(found(&db, &q("192.0.2"), 9).await, ["database"]);
    // What no search asks for touches nothing.
    assert_eq!(describe(&db, 23).await, 1);
    let mut tagged = renamed("database");
    tagged.cidr = Some("192.0.2.0/24".into());
    tagged.metadata.clear();
    assert_eq!(deliver(&db, "names", 2, &[tagged], 52).await.updated, 1);
    assert_eq!(describe(&db, 23).await, 0);
}

async fn a_stretch_that_is_touched_while_it_is_described_does_not_count(db: Db) {
    let some: Vec<_> = (0..ROWS).map(|n| vpc(&format!("n{n:02}"), "eu")).collect();
    deliver(&db, "j", 0, &some, 20).await;
    db.write(async |tx| tx.resources().add_stretch(&org(), ROWS, at(30)).await).await;
    let mut reader = db.store.read("index").await.unwrap();
    let stretch = reader.resources().read_stretch(&org(), 99).await.unwrap().unwrap();
    drop(reader);
    let renamed = Resource { resource_id: "vpc-n03".into(), ..vpc("elsewhere", "eu") };
    deliver(&db, "j", 1, &[renamed], 40).await;
    // As if the program were killed here: nothing of the step is there.
    let mut tx = db.store.write("killed").await.unwrap();
    let mut reader = db.store.read("index").await.unwrap();
    let again = reader.resources().read_stretch(&org(), 99).await.unwrap().unwrap();
    drop(reader);
    tx.resources().keep_stretch(&org(), again).await.unwrap();
    drop(tx);
    assert_eq!(found(&db, &q("elsewhere"), 9).await, ["elsewhere"]);
    db.write(async |tx| tx.resources().keep_stretch(&org(), stretch).await).await;
    assert_eq!(found(&db, &q("elsewhere"), 9).await, ["elsewhere"]);
    assert_eq!(describe(&db, 30).await, 1);
    assert_eq!(found(&db, &q("elsewhere"), 9).await, ["elsewhere"]);
    assert_eq!(describe(&db, 30).await, 0);
}

async fn what_comes_late_is_found_and_what_is_too_much_is_cut(db: Db) {
    fill(&db).await;
    describe(&db, 23).await;
    // A server whose clock is behind.
    deliver(&db, "late", 0, &[vpc("latecomer", "eu")], 21).await;
    assert_eq!(found(&db, &q("latecomer"), 9).await, ["latecomer"]);
    assert_eq!(describe(&db, 23).await, 1);
    let flood: Vec<_> = (0..ROWS * 5).map(|n| vpc(&format!("flood-{n:03}"), "eu")).collect();
    deliver(&db, "late", 1, &flood, 19).await;
    assert_eq!(found(&db, &q("flood-0"), 50).await.len(), 80);
    assert!(describe(&db, 23).await > 20, "all that were newer are described anew");
    assert_eq!(found(&db, &q("flood-0"), 7).await.len(), 80);
    assert_eq!(found(&db, &q("latecomer"), 9).await, ["latecomer"]);
    assert_eq!(found(&db, &q("nit"), 50).await.len(), 200);
}

async fn organisations_find_their_own(db: Db) {
    fill(&db).await;
    describe(&db, 23).await;
    db.write(async |tx| tx.orgs().create(&id("other"), "Other", at(1)).await).await;
    let mut reader = db.store.read("list").await.unwrap();
    for filter in filters() {
        let page = PageRequest::first(9);
        let rows = reader.resources().list(&id("other"), &filter, &page).await.unwrap();
        assert_eq!(rows.items, []);
    }
}
