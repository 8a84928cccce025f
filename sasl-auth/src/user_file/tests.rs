//! Tests of user files on a real file system.

use std::fs;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::*;

fn request(user: &str) -> Request {
    Request { user: user.into(), ..Request::default() }
}

fn first_line(loaded: &Option<Arc<Loaded>>, user: &str) -> Option<String> {
    loaded.as_ref()?.lines(user).next().map(|line| String::from_utf8_lossy(line).into_owned())
}

async fn look(files: &UserFiles, user: &str) -> Option<String> {
    first_line(&files.content(&request(user)).await.unwrap(), user)
}

#[tokio::test]
async fn a_change_is_seen_by_the_very_next_lookup() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let files = UserFiles::open(path.to_str().unwrap(), Kind::USERS).unwrap();
    fs::write(&path, "a:1\n").unwrap();
    assert_eq!(look(&files, "a").await.as_deref(), Some("a:1"));
    for round in 0..50 {
        // Another size, then the same size in another file under the same name.
        fs::write(&path, format!("a:{}\n", "x".repeat(round + 2))).unwrap();
        assert_eq!(look(&files, "a").await, Some(format!("a:{}", "x".repeat(round + 2))));
        let aside = folder.path().join("aside");
        fs::write(&aside, format!("a:{}\n", "y".repeat(round + 2))).unwrap();
        fs::rename(&aside, &path).unwrap();
        assert_eq!(look(&files, "a").await, Some(format!("a:{}", "y".repeat(round + 2))));
    }
    fs::remove_file(&path).unwrap();
    let error = files.content(&request("a")).await.err().unwrap();
    assert!(error.detail.contains("users: No such file"), "{error}");
    fs::write(&path, "a:2\n").unwrap();
    assert_eq!(look(&files, "a").await.as_deref(), Some("a:2"));
}

#[tokio::test]
async fn a_change_that_leaves_the_stamp_is_seen_a_second_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    fs::write(&path, "a:1\n").unwrap();
    let files = UserFiles::open(path.to_str().unwrap(), Kind::USERS).unwrap();
    let loaded = files.content(&request("a")).await.unwrap().unwrap();
    assert!(loaded.fresh);
    // As if the file had been written again within one tick of the clock.
    let file = files.kept(path.to_str().unwrap()).unwrap();
    file.loaded.store(Some(Arc::new(loaded.with_content("a:0\n"))));
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(look(&files, "a").await.as_deref(), Some("a:1"));
    assert!(!files.content(&request("a")).await.unwrap().unwrap().fresh);
}

#[tokio::test]
async fn a_lookup_in_an_unchanged_file_does_not_suspend() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    fs::write(&path, "a:1\n").unwrap();
    let files = UserFiles::open(path.to_str().unwrap(), Kind::USERS).unwrap();
    look(&files, "a").await.unwrap();
    let request = request("a");
    let mut future = pin!(files.content(&request));
    let Poll::Ready(Ok(loaded)) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("suspended")
    };
    assert_eq!(first_line(&loaded, "a").as_deref(), Some("a:1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_lookups_of_a_changed_file_read_it_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    fs::write(&path, "a:1\n").unwrap();
    let files = UserFiles::open(path.to_str().unwrap(), Kind::USERS).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let files = Arc::clone(&files);
        tasks.spawn(async move { files.content(&request("a")).await.unwrap().unwrap() });
    }
    let all = tasks.join_all().await;
    assert!(all.windows(2).all(|pair| Arc::ptr_eq(&pair[0].table, &pair[1].table)));
}

#[tokio::test]
async fn one_file_a_domain_and_no_more_than_256_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("%d");
    let files = UserFiles::open(path.to_str().unwrap(), Kind::USERS).unwrap();
    for number in 0..KEPT + 20 {
        fs::write(folder.path().join(format!("d{number}")), format!("a@d{number}:{number}\n")).unwrap();
    }
    for number in 0..KEPT + 20 {
        let user = format!("a@d{number}");
        assert_eq!(look(&files, &user).await, Some(format!("{user}:{number}")));
        assert!(look(&files, "a@d0").await.is_some());
        assert!(look(&files, &format!("a@nowhere{number}")).await.is_none());
    }
    let kept = files.kept.lock().unwrap();
    assert_eq!(kept.files.len(), KEPT);
    assert!(
        kept.files.contains_key(folder.path().join("d0").to_str().unwrap()),
        "the one used all the time went"
    );
    assert!(!kept.files.contains_key(folder.path().join("d1").to_str().unwrap()));
}

#[tokio::test]
async fn a_file_that_is_being_written_is_waited_for() {
    use std::io::Write as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let files = UserFiles::open(path.to_str().unwrap(), Kind::USERS).unwrap();
    // The writer's pause may be longer than it says on a busy machine; then it is tried again.
    let mut seen = None;
    for _ in 0..10 {
        let mut file = fs::File::create(&path).unwrap();
        file.write_all(b"a:secr").unwrap();
        let writer = tokio::task::spawn_blocking(move || {
            std::thread::sleep(Duration::from_millis(30));
            file.write_all(b"et\nb:x\n").unwrap();
        });
        seen = look(&files, "a").await;
        writer.await.unwrap();
        if seen.as_deref() == Some("a:secret") {
            break;
        }
    }
    assert_eq!(seen.as_deref(), Some("a:secret"));
    // Without an end of line at the end for good: read as it is.
    fs::write(&path, "a:1\nb:2").unwrap();
    assert_eq!(look(&files, "b").await.as_deref(), Some("b:2"));
}

#[tokio::test]
async fn what_is_no_file_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let files = UserFiles::open(folder.path().to_str().unwrap(), Kind::USERS).unwrap();
    assert!(files.content(&request("a")).await.err().unwrap().detail.contains("not a regular file"));
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let files = UserFiles::open(fifo.to_str().unwrap(), Kind::USERS).unwrap();
    assert!(files.content(&request("a")).await.err().unwrap().detail.contains("not a regular file"));
    assert!(UserFiles::open("/etc/%{domian}", Kind::USERS).err().unwrap().contains("did you mean `domain`"));
}

#[test]
fn one_path_is_read_once_for_all() {
    let one = UserFiles::open("/nonexistent/shared", Kind::USERS).unwrap();
    assert!(Arc::ptr_eq(&one, &UserFiles::open("/nonexistent/shared", Kind::USERS).unwrap()));
    assert!(!Arc::ptr_eq(
        &one,
        &UserFiles::open("/nonexistent/shared", Kind { name: "others", ..Kind::USERS }).unwrap()
    ));
}

/// A disk that is not mounted is no reason to tell everybody that he is unknown.
#[tokio::test]
async fn a_missing_folder_of_all_domains_is_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let domains = folder.path().join("domains");
    let path = domains.join("%d/users");
    let files = UserFiles::open(path.to_str().unwrap(), Kind::USERS).unwrap();
    let away = files.content(&request("joe@a.example")).await.err().unwrap();
    assert!(away.detail.contains("domains"), "{away}");
    fs::create_dir_all(domains.join("a.example")).unwrap();
    fs::write(domains.join("a.example/users"), "joe@a.example:x\n").unwrap();
    assert!(look(&files, "joe@a.example").await.is_some());
    assert!(files.content(&request("joe@b.example")).await.unwrap().is_none());
    fs::rename(&domains, folder.path().join("gone")).unwrap();
    assert!(files.content(&request("joe@a.example")).await.is_err());
    let optional = Kind { optional: true, ..Kind::USERS };
    let files = UserFiles::open(path.to_str().unwrap(), Kind { name: "optional", ..optional }).unwrap();
    assert!(files.content(&request("joe@a.example")).await.unwrap().is_none());
}
