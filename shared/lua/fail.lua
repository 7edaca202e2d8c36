-- fail: id, unit, stage, entry, error (JSON), reason. The unit cannot be done: its job fails. With a reason the message
-- also becomes a dead letter, once.
local job = load_job(A[1])
local due = job and is_active(job, A[3]) and holds(job, A[2], A[4])
local acked = release(KEYS[1], A[4])
if A[6] ~= '' and (due or acked == 1) then dead_letter(A[1], A[2], KEYS[1], A[4], A[6]) end
if not due then return 'skipped' end
end_job(job, 'failed', A[5])
return 'done'
