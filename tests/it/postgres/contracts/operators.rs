//! What the operators of every store do: what one process begins, another finishes, once.

use futures_util::future::join_all;
use integ::model::{OperatorName, OperatorRole};

use super::super::on_both_stores;
use super::at;

fn name(text: &str) -> OperatorName {
    text.parse().unwrap()
}

#[test]
fn a_link_starts_one_session_in_any_process() {
    on_both_stores(async |subject| {
        let (ours, theirs) = (subject.store().operators(), subject.other().operators());
        assert!(!ours.add_link(&name("kim"), &[1; 32], at(0)).await.unwrap(), "kim is not an operator");
        assert!(ours.set(&name("kim"), OperatorRole::Viewer, at(0)).await.unwrap());
        assert!(ours.add_link(&name("kim"), &[1; 32], at(0)).await.unwrap());
        assert_eq!(theirs.find_link(&[1; 32], at(599)).await.unwrap().unwrap().name, name("kim"));
        assert_eq!(theirs.find_link(&[1; 32], at(600)).await.unwrap(), None);
        assert_eq!(theirs.find_link(&[2; 32], at(1)).await.unwrap(), None);
        assert_eq!(theirs.start_session(&[1; 32], &[7; 32], at(600)).await.unwrap(), None);
        assert!(theirs.start_session(&[1; 32], &[7; 32], at(5)).await.unwrap().is_some());
        assert_eq!(ours.start_session(&[1; 32], &[8; 32], at(6)).await.unwrap(), None);
        let session = ours.find_session(&[7; 32]).await.unwrap().unwrap();
        assert_eq!((session.started_at, session.last_seen_at), (at(5), at(5)));
        assert_eq!(ours.find_session(&[8; 32]).await.unwrap(), None);
        theirs.touch_session(&[7; 32], at(90)).await.unwrap();
        theirs.touch_session(&[7; 32], at(80)).await.unwrap();
        let listed = ours.list(at(100)).await.unwrap();
        assert_eq!((listed[0].sessions, listed[0].last_seen_at), (1, Some(at(90))));
        ours.end_session(&[7; 32]).await.unwrap();
        assert_eq!(theirs.find_session(&[7; 32]).await.unwrap(), None);
    });
}

#[test]
fn of_many_that_use_a_link_at_once_one_gets_a_session() {
    on_both_stores(async |subject| {
        subject.store().operators().set(&name("kim"), OperatorRole::Editor, at(0)).await.unwrap();
        subject.store().operators().add_link(&name("kim"), &[1; 32], at(0)).await.unwrap();
        let started = join_all((0..16_u8).map(async |number| {
            let operators = subject.handles[usize::from(number) % subject.handles.len()].operators();
            operators.start_session(&[1; 32], &[number + 2; 32], at(5)).await.unwrap().is_some()
        }));
        assert_eq!(started.await.iter().filter(|started| **started).count(), 1, "{}", subject.name);
    });
}

#[test]
fn a_session_has_the_present_role_and_ends_with_its_operator() {
    on_both_stores(async |subject| {
        let operators = subject.store().operators();
        for (operator, link, session) in [("kim", [1; 32], [2; 32]), ("lee", [3; 32], [4; 32])] {
            operators.set(&name(operator), OperatorRole::Viewer, at(0)).await.unwrap();
            operators.add_link(&name(operator), &link, at(0)).await.unwrap();
            operators.start_session(&link, &session, at(1)).await.unwrap().unwrap();
        }
        assert!(!operators.set(&name("kim"), OperatorRole::Editor, at(9)).await.unwrap());
        let session = operators.find_session(&[2; 32]).await.unwrap().unwrap();
        assert_eq!((session.operator.role, session.operator.created_at), (OperatorRole::Editor, at(0)));
        assert!(operators.remove(&name("kim")).await.unwrap());
        assert!(!operators.remove(&name("kim")).await.unwrap());
        assert_eq!(operators.find_session(&[2; 32]).await.unwrap(), None);
        assert!(operators.find_session(&[4; 32]).await.unwrap().is_some());
        // What has ended is deleted with the next link.
        let late = 3 * 3600;
        operators.add_link(&name("lee"), &[5; 32], at(late)).await.unwrap();
        assert_eq!(operators.find_session(&[4; 32]).await.unwrap(), None);
        assert_eq!(operators.list(at(late)).await.unwrap().len(), 1);
    });
}
