//! The same conditions, asked of the database and of a naive evaluator.

use super::*;
use crate::{JOB_COLUMNS, sql::testing::store};
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::Value;
use std::{cmp::Ordering, collections::BTreeMap};

type Job = Vec<Value>;

fn read(rows: &Rows) -> Vec<Job> {
    let values = rows.values().unwrap();
    let read: Vec<Job> = values
        .iter()
        .map(|row| row.iter().map(|value| serde_json::from_str(value.get()).unwrap()).collect())
        .collect();
    assert_eq!(read.len(), rows.count());
    read
}

fn column(name: &str) -> &'static Column {
    Table::Jobs.column(name).unwrap()
}

async fn insert(store: &SqlStore, jobs: &[(String, String, i64, Option<i64>)]) {
    let jobs = jobs.to_vec();
    let write = store.write(move |c| {
        Box::pin(async move {
            sqlx::query("DELETE FROM jobs").execute(&mut *c).await?;
            for (i, (name, site, priority, started)) in jobs.into_iter().enumerate() {
                sqlx::query(
                    "INSERT INTO jobs (job_id, template_id, row_number, parameters, class_id, vo, grp,
                        owner, job_type, name, priority, status, minor_status, site, submitted, updated, started)
                     VALUES ($1, 1, 0, '{}', 1, 'vo', 'g', 'o', 'User', $2, $3, 'Waiting', '', $4, $5, 0, $6)",
                )
                .bind(i as i64 + 1)
                .bind(name)
                .bind(priority)
                .bind(site)
                .bind(i as i64 * 1_000)
                .bind(started)
                .execute(&mut *c)
                .await?;
            }
            Ok(())
        })
    });
    write.await.unwrap();
}

fn search(conditions: Vec<Condition>) -> Search {
    Search {
        table: Table::Jobs,
        vo: Some("vo".parse().unwrap()),
        conditions,
        columns: JOB_COLUMNS.iter().collect(),
        sort: vec![(column("JobID"), false)],
        distinct: false,
        offset: 0,
        limit: 10_000,
    }
}

/// Case does not matter, `%` is any text, `_` any character.
fn like(text: &[char], pattern: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('%', rest)) => (0..=text.len()).any(|skip| like(&text[skip..], rest)),
        Some(('_', rest)) => !text.is_empty() && like(&text[1..], rest),
        Some((c, rest)) => {
            text.first().is_some_and(|t| t.eq_ignore_ascii_case(c)) && like(&text[1..], rest)
        }
    }
}

fn compare(found: &Value, operand: &Operand) -> Option<Ordering> {
    match (found, operand) {
        (Value::Number(a), Operand::Number(b)) => Some(a.as_i64()?.cmp(b)),
        (Value::String(a), Operand::Text(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        _ => None,
    }
}

fn holds(job: &Job, condition: &Condition) -> bool {
    let at = JOB_COLUMNS.iter().position(|c| c == condition.column).unwrap();
    let found = &job[at];
    if found.is_null() {
        return false;
    }
    match &condition.test {
        Test::In(values, within) => {
            values.iter().any(|v| compare(found, v) == Some(Ordering::Equal)) == *within
        }
        Test::Above(value) => compare(found, value) == Some(Ordering::Greater),
        Test::Below(value) => compare(found, value) == Some(Ordering::Less),
        Test::Within(periods, within) => {
            let Some(time) = found.as_i64() else { return false };
            periods.iter().any(|(from, to)| (*from..*to).contains(&time)) == *within
        }
        Test::Like(pattern, alike) => {
            let Some(text) = found.as_str() else { return false };
            let (text, pattern): (Vec<char>, Vec<char>) =
                (text.chars().collect(), pattern.chars().collect());
            like(&text, &pattern) == *alike
        }
        Test::InPilots(_) | Test::WithJobs(_) => false,
    }
}

fn word() -> impl Strategy<Value = String> {
    "[aAbB_%.]{0,3}"
}

fn condition() -> impl Strategy<Value = Condition> {
    let text = || prop_oneof![Just(column("JobName")), Just(column("Site"))];
    let number = || prop_oneof![Just(column("UserPriority")), Just(column("JobID"))];
    let time = || prop_oneof![Just(column("StartExecTime")), Just(column("SubmissionTime"))];
    let made = |(column, test): (&'static Column, Test)| Condition { column, test };
    let texts = (prop::collection::vec(word().prop_map(Operand::Text), 0..70), any::<bool>());
    let numbers =
        (prop::collection::vec((0..12i64).prop_map(Operand::Number), 0..70), any::<bool>());
    let periods = (prop::collection::vec((0..9_000i64, 0..4_000i64), 0..3), any::<bool>());
    prop_oneof![
        (text(), texts.prop_map(|(v, within)| Test::In(v, within))).prop_map(made),
        (text(), word().prop_map(|w| Test::Above(Operand::Text(w)))).prop_map(made),
        (text(), word().prop_map(|w| Test::Below(Operand::Text(w)))).prop_map(made),
        (text(), (word(), any::<bool>()).prop_map(|(w, alike)| Test::Like(w, alike)))
            .prop_map(made),
        (number(), numbers.prop_map(|(v, within)| Test::In(v, within))).prop_map(made),
        (number(), (0..12i64).prop_map(|n| Test::Above(Operand::Number(n)))).prop_map(made),
        (time(), (0..9_000i64).prop_map(|n| Test::Below(Operand::Number(n)))).prop_map(made),
        (
            time(),
            periods.prop_map(|(p, within)| {
                Test::Within(
                    p.into_iter().map(|(from, length)| (from, from + length)).collect(),
                    within,
                )
            })
        )
            .prop_map(made),
    ]
}

#[test]
fn the_database_finds_what_a_naive_evaluator_finds() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (store, _directory) = runtime.block_on(store());
    let job = (word(), word(), 0..11i64, prop::option::of(0..9_000i64));
    let cases = (
        prop::collection::vec(job, 0..12),
        prop::collection::vec(condition(), 1..4),
        (0..3u64, 1..5u32),
    );
    let mut runner = TestRunner::new(ProptestConfig { cases: 150, ..ProptestConfig::default() });
    let checked = runner.run(&cases, |(jobs, conditions, (offset, limit))| {
        runtime.block_on(async {
            insert(&store, &jobs).await;
            let all = store.search(&search(Vec::new())).await.unwrap();
            prop_assert_eq!(all.total, jobs.len() as u64);
            let mut naive = read(&all.rows);
            naive.retain(|job| conditions.iter().all(|c| holds(job, c)));
            let found = store.search(&search(conditions.clone())).await.unwrap();
            prop_assert_eq!(&read(&found.rows), &naive);
            let page = Search { offset, limit, ..search(conditions.clone()) };
            let paged = store.search(&page).await.unwrap();
            prop_assert_eq!(paged.total, naive.len() as u64);
            let wanted: Vec<Job> =
                naive.iter().skip(offset as usize).take(limit as usize).cloned().collect();
            prop_assert_eq!(read(&paged.rows), wanted);
            let sites = vec![column("Site")];
            let different = Search {
                columns: sites.clone(),
                sort: vec![(column("Site"), true)],
                distinct: true,
                ..search(conditions.clone())
            };
            let found = store.search(&different).await.unwrap();
            let at = JOB_COLUMNS.iter().position(|c| c.name == "Site").unwrap();
            let text = |found: &Value| found.as_str().unwrap_or_default().to_owned();
            let mut naive_sites: Vec<_> = naive.iter().map(|job| text(&job[at])).collect();
            naive_sites.sort_by(|a, b| b.cmp(a));
            naive_sites.dedup();
            let found_sites: Vec<_> = read(&found.rows).iter().map(|row| text(&row[0])).collect();
            prop_assert_eq!(found_sites, naive_sites);
            let by = Search { columns: sites, ..search(conditions) };
            let counted = store.count_by(&by).await.unwrap();
            prop_assert_eq!(counted.total, naive.len() as u64);
            let mut by_site: BTreeMap<String, u64> = BTreeMap::new();
            for job in &naive {
                *by_site.entry(text(&job[at])).or_default() += 1;
            }
            let by_site: Vec<Job> =
                by_site.into_iter().map(|(site, n)| vec![site.into(), n.into()]).collect();
            prop_assert_eq!(read(&counted.rows), by_site);
            Ok(())
        })
    });
    checked.unwrap();
}

#[tokio::test]
async fn pilots_are_searched_whoever_sends_them() {
    use crate::{PilotStore, RegisteredPilot};
    let (store, _directory) = store().await;
    let pilot = |stamp: &str| RegisteredPilot {
        stamp: stamp.parse().unwrap(),
        vo: "vo".parse().unwrap(),
        reference: "r".to_owned(),
        destination_site: "S".to_owned(),
        grid_site: "G".to_owned(),
        grid_type: "T".to_owned(),
        status: "Submitted".to_owned(),
    };
    let now = spinor_model::time::Timestamp(1);
    for (stamp, new) in [("a", true), ("b", true), ("a", false)] {
        assert_eq!(store.register_pilot(&pilot(stamp), now).await.unwrap(), new, "{stamp}");
    }
    let all = Search {
        table: Table::Pilots,
        columns: Table::Pilots.columns().iter().collect(),
        sort: vec![(Table::Pilots.key(), true)],
        ..search(Vec::new())
    };
    let found = store.search(&all).await.unwrap();
    assert_eq!(found.total, 2);
    assert_eq!(read(&found.rows)[0][4], "b");
}

/// Jobs with numbers from one to another.
async fn add(store: &SqlStore, from: i64, to: i64) {
    let write = store.write(move |c| {
        Box::pin(async move {
            sqlx::query(
                "WITH RECURSIVE numbers(i) AS (SELECT CAST($1 AS BIGINT) UNION ALL SELECT i + 1 FROM numbers WHERE i < $2)
                 INSERT INTO jobs (job_id, template_id, row_number, parameters, class_id, vo, grp, owner,
                    job_type, name, priority, status, minor_status, submitted, updated)
                 SELECT i, 1, 0, '{}', 1, 'vo', 'g', 'o', 'User', 'n', 1, 'Waiting', '', 0, 0 FROM numbers",
            )
            .bind(from)
            .bind(to)
            .execute(c)
            .await?;
            Ok(())
        })
    });
    write.await.unwrap();
}

#[tokio::test]
async fn a_total_that_is_remembered_is_not_behind_the_page() {
    let (store, _directory) = store().await;
    add(&store, 1, 20_000).await;
    let page = |offset| Search { offset, limit: 10, ..search(Vec::new()) };
    assert_eq!(store.search(&page(0)).await.unwrap().total, 20_000);
    add(&store, 20_001, 20_050).await;
    let found = store.search(&page(20_030)).await.unwrap();
    assert_eq!((found.rows.count(), found.total >= 20_040), (10, true), "{}", found.total);
    let write = store.write(|c| {
        Box::pin(async move {
            sqlx::query("DELETE FROM jobs WHERE job_id > 15000").execute(c).await?;
            Ok(())
        })
    });
    write.await.unwrap();
    assert_eq!(store.search(&page(19_000)).await.unwrap().total, 15_000, "nothing is there");
}
