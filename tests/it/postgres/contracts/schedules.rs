//! What the schedules of every store do.

use integ::store::Store;

use super::super::on_both_stores;
use super::at;

#[test]
fn a_schedule_is_claimed_once() {
    on_both_stores(async |subject| {
        let (ours, theirs) = (subject.store(), subject.other());
        let connection = subject.connect("github").await.id;
        ours.schedules().set(connection, None, "every 15m", 0, at(900)).await.unwrap();
        let claim = async |store: &dyn Store| {
            store.schedules().claim(connection, None, at(900), at(1800), at(901)).await.unwrap()
        };
        assert_eq!((claim(ours).await, claim(theirs).await), (true, false));
        let schedule = theirs.schedules().list().await.unwrap().remove(0);
        assert_eq!((schedule.stream.clone(), schedule.next_at, schedule.last_at), (None, at(1800), Some(at(901))));
        ours.schedules().set_next_at(&schedule, at(1000)).await.unwrap();
        assert_eq!(ours.schedules().list().await.unwrap()[0].next_at, at(1000));
        assert!(ours.schedules().remove(connection, None).await.unwrap());
        assert!(!ours.schedules().remove(connection, None).await.unwrap());
    });
}
