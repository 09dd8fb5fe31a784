-- signals.alert
--
-- What must be looked at: a sequential boundary that was crossed, a serious event after an
-- infusion, or what screening puts on watch. Only a boundary is a signal. A serious event is listed the same night, in a window that is still open too. A change of
-- state is announced. analysis.alert shows, before each, what has changed in the data.
--
-- grain: One row per site, study, published outcome, window that follows the unit (a control window has no alert) and, where surveillance or screening watches a drug or class, drug or class.
-- key: site_id, study_id, outcome, window_name, watched
-- columns:
--   study_id VARCHAR - Study that defines outcome and window.
--   site_id VARCHAR - Hospital.
--   outcome VARCHAR - The study's name of the outcome.
--   window_name VARCHAR - The study's name of the window.
--   watched VARCHAR - Drug (its concept) or drug class that surveillance or screening watches; all for every unit.
--   alert_key VARCHAR - Key of the alert within its site: study/outcome/window, and the drug or class where one is watched.
--   state VARCHAR - under_review, confirmed or refuted where a review stands, else the evidence.
--   evidence VARCHAR - signal: a look at this revision of the study crossed its boundary; case: at least one serious event is listed; watch: a rule of screening holds, whose reasons say which; none.
--   reasons VARCHAR[] - Every reason for it: boundary, serious_event, and of screening eb05 (at least 2), ic025 (above 0; both with 3 events or more), run_rule (the risk by quarter has shifted and lies above its median now), above_published (its interval lies above what was published, of all units or a stratum).
--   n_serious BIGINT - Units with a serious event in the window, closed or still open; null where a drug or class is watched: they are listed under all.
--   n_serious_open BIGINT - Of those, units whose window is still open; in no risk.
--   look_number BIGINT - Last look of the surveillance; null where there was none.
--   reviewed_state VARCHAR - under_review, confirmed or refuted, by the last review; it stands while the evidence is the one that was judged, with no more serious events and no other rule of screening. Null without a review.
--   reviewed_by VARCHAR - Who gave the last review.
--   reviewed_at TIMESTAMP - When, UTC.
--   run_id VARCHAR - Run that last changed the row.

select alert.*
from store.signals.alert as alert
anti join (select * from store.reference.outcome where not is_published) as hidden
    on hidden.study_id = alert.study_id
    and hidden.outcome = alert.outcome
order by site_id, study_id, outcome, window_name, watched
