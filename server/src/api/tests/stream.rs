//! RangeStream.

use super::*;
use tokio_stream::StreamExt as _;

impl Bench {
    async fn parts(&mut self, request: pb::RangeRequest) -> Vec<pb::RangeResponse> {
        let stream = self.kv.range_stream(request).await.unwrap().into_inner();
        stream
            .map(|part| part.unwrap().range_response.unwrap())
            .collect()
            .await
    }

    async fn fill(&mut self, keys: usize) {
        self.fill_with(keys, "v").await;
    }

    async fn fill_with(&mut self, keys: usize, value: &str) {
        for i in 0..keys {
            self.put(&format!("k{i:03}"), value).await.unwrap();
        }
    }
}

#[tokio::test]
async fn only_the_last_part_tells_of_the_whole() {
    let mut bench = Bench::start().await;
    bench.fill(100).await;
    let parts = bench.parts(from("k")).await;
    assert_eq!(parts[0].kvs.len(), 10, "the first part is small");
    let (last, before) = parts.split_last().unwrap();
    for part in before {
        assert_eq!((&part.header, part.more, part.count), (&None, false, 0));
    }
    assert_eq!(
        (revision(&last.header), last.more, last.count),
        (101, false, 100)
    );
    let streamed: Vec<_> = parts.iter().flat_map(|part| part.kvs.clone()).collect();
    assert_eq!(streamed, bench.range(from("k")).await.unwrap().kvs);
    bench.stop().await;
}

#[tokio::test]
async fn a_limit_cuts_and_says_so() {
    let mut bench = Bench::start().await;
    bench.fill(30).await;
    let limited = pb::RangeRequest {
        limit: 25,
        ..from("k")
    };
    let parts = bench.parts(limited).await;
    assert_eq!(parts.iter().map(|part| part.kvs.len()).sum::<usize>(), 25);
    let last = parts.last().unwrap();
    assert_eq!((last.more, last.count), (true, 30));
    bench.stop().await;
}

#[tokio::test]
async fn short_and_empty_ranges_are_one_part() {
    let mut bench = Bench::start().await;
    bench.fill(10).await;
    let parts = bench.parts(from("k")).await;
    assert_eq!(parts.len(), 1);
    assert_eq!((parts[0].kvs.len(), parts[0].count), (10, 10));
    let parts = bench.parts(from("x")).await;
    assert_eq!(parts.len(), 1);
    assert_eq!((revision(&parts[0].header), parts[0].count), (11, 0));
    let counted = pb::RangeRequest {
        count_only: true,
        ..from("k")
    };
    let parts = bench.parts(counted).await;
    assert_eq!(parts.len(), 1);
    assert_eq!((parts[0].kvs.len(), parts[0].count), (0, 10));
    bench.stop().await;
}

#[tokio::test]
async fn what_has_no_key_order_is_refused() {
    let mut bench = Bench::start().await;
    let sorted = pb::RangeRequest {
        sort_order: 2,
        ..from("k")
    };
    assert_refused(
        bench.kv.range_stream(sorted).await.map(|_| ()),
        ApiError::StreamSortOrder,
    );
    let filtered = pb::RangeRequest {
        min_mod_revision: 1,
        ..from("k")
    };
    assert_refused(
        bench.kv.range_stream(filtered).await.map(|_| ()),
        ApiError::StreamRevisionFilter,
    );
    let future = pb::RangeRequest {
        revision: 99,
        ..from("k")
    };
    assert_refused(
        bench.kv.range_stream(future).await.map(|_| ()),
        ApiError::FutureRev,
    );
    bench.stop().await;
}

#[tokio::test]
async fn a_compaction_ends_a_stream_of_what_it_removed() {
    let mut bench = Bench::start().await;
    // A first part of more bytes than are sent together goes out alone: the
    // rest is not read before it is asked for.
    bench.fill_with(50, &"x".repeat(8 << 10)).await;
    let old = pb::RangeRequest {
        revision: 40,
        ..from("k")
    };
    let mut stream = bench.kv.range_stream(old).await.unwrap().into_inner();
    assert!(stream.next().await.unwrap().is_ok());
    let compact = pb::CompactionRequest {
        revision: 51,
        physical: false,
    };
    bench.kv.compact(compact).await.unwrap();
    let end = stream.next().await.unwrap().unwrap_err();
    assert_refused::<()>(Err(end), ApiError::Compacted);
    bench.stop().await;
}
