-- signals.alert
--
-- What must be looked at: whether a serious event is listed after an infusion. It is listed the
-- same night, in a window that is still open too. A change of state is announced.
--
-- grain: One row per site, study, published outcome and window that follows the unit (a control window has no alert).
-- key: site_id, study_id, outcome, window_name
-- columns:
--   study_id VARCHAR - Study that defines outcome and window.
--   site_id VARCHAR - Hospital.
--   outcome VARCHAR - The study's name of the outcome.
--   window_name VARCHAR - The study's name of the window.
--   alert_key VARCHAR - Key of the alert within its site: study/outcome/window.
--   state VARCHAR - case: at least one serious event is listed; none: no serious event is.
--   n_serious BIGINT - Units with a serious event in the window, closed or still open.
--   n_serious_open BIGINT - Of those, units whose window is still open; in no risk.
--   run_id VARCHAR - Run that last changed the row.

select alert.*
from store.signals.alert as alert
order by site_id, study_id, outcome, window_name
