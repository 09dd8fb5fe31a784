-- reference.term
--
-- The words that other tables use as values, spelled out: denominators, statuses of a unit, why a
-- window was cut, states of an alert, reasons for it.
--
-- grain: One row per kind and term.
-- key: kind, term
-- columns:
--   kind VARCHAR - What the term is a value of: denominator, status, cut_reason, alert_state or alert_reason.
--   term VARCHAR - The value as tables have it.
--   meaning VARCHAR - What it says.

select * from term_rows
