//! Operators in the store: what one process begins, another finishes, once.

use super::super::endpoints::tests::{at, opened};
use super::*;
use crate::store::Store;

fn name(text: &str) -> OperatorName {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_link_starts_one_session_in_any_process() {
    let (_folder, [ours, theirs]) = opened();
    let (ours, theirs) = (ours.operators(), theirs.operators());
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
}

#[tokio::test]
async fn a_session_has_the_present_role_and_ends_with_its_operator() {
    let (_folder, [store, _]) = opened();
    let operators = store.operators();
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
}
