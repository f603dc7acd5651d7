//! Encrypted transports of DNS: what each of them promises, and what only some do.
#![allow(clippy::unwrap_used)]

mod doh;
mod doh3;
mod doq;
mod dot;
mod suite;

/// The suite's cases, for each transport.
macro_rules! promises {
    ($($name:ident: $transport:ty),+ $(,)?) => {$(
        mod $name {
            use echkit_test::clock::PacedClock;

            use crate::suite;

            type Transport = $transport;

            #[tokio::test]
            async fn questions_share_a_connection_and_answers_come_in_any_order() {
                suite::questions_share_a_connection::<Transport>().await;
            }

            #[tokio::test]
            async fn a_connection_that_was_closed_is_replaced() {
                suite::a_closed_connection_is_replaced::<Transport>().await;
            }

            #[tokio::test]
            async fn questions_at_once_outlast_connections_for_one_answer() {
                suite::questions_at_once_outlast_connections_for_one_answer::<Transport>().await;
            }

            #[tokio::test]
            async fn a_server_that_only_closes_is_given_up() {
                suite::a_server_that_only_closes_is_given_up::<Transport>().await;
            }

            #[tokio::test]
            async fn a_question_without_answer_holds_up_no_other() {
                let _clock = PacedClock::new();
                suite::silence_holds_up_no_other::<Transport>().await;
            }

            #[tokio::test]
            async fn a_server_that_is_not_trusted_is_not_asked() {
                suite::a_server_that_is_not_trusted_is_not_asked::<Transport>().await;
            }

            #[tokio::test]
            async fn a_server_of_another_protocol_is_not_asked() {
                suite::a_server_of_another_protocol_is_not_asked::<Transport>().await;
            }

            #[tokio::test]
            async fn refusals_and_broken_answers_are_told_apart() {
                suite::refusals_and_broken_answers_are_told_apart::<Transport>().await;
            }

            #[tokio::test]
            async fn discovery_over_an_encrypted_transport_is_protected() {
                suite::discovery_is_protected::<Transport>().await;
            }

            #[tokio::test]
            async fn over_a_protected_resolver_a_failed_https_lookup_is_the_end() {
                let _clock = PacedClock::new();
                suite::a_failed_https_lookup_is_the_end::<Transport>().await;
            }
        }
    )+};
}

promises! {
    over_tls: crate::dot::Dot,
    over_quic: crate::doq::Doq,
    over_https: crate::doh::Doh,
    over_http3: crate::doh3::Doh3,
}
