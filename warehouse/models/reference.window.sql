-- reference.window
--
-- Windows in which the studies look for their outcomes.
--
-- grain: One row per study, outcome and window.
-- key: study_id, outcome, window_name
-- columns:
--   study_id VARCHAR - Study.
--   outcome VARCHAR - Outcome that the window belongs to.
--   window_name VARCHAR - Name of the window: risk, control, extended, ...
--   start_anchor VARCHAR - What the start is counted from: start or end of the unit.
--   start_offset_hours DOUBLE - Hours from that anchor to the window's start; negative is before.
--   end_anchor VARCHAR - What the end is counted from: start or end of the unit.
--   end_offset_hours DOUBLE - Hours from that anchor to the window's end.
--   overlap VARCHAR - Which unit owns an event in two windows: latest, all or merge.
--   resolution VARCHAR - instant (half-open, UTC) or day (closed, local dates).
--   in_words VARCHAR - From when to when it looks, in words.

select * from store.reference.window order by study_id, outcome, window_name
