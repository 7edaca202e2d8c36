-- commit_motion: id, unit, entry, window, next state, first frame, rows, first frame, rows ...
local w = tonumber(A[4])
local job = load_job(A[1])
local due = job and is_active(job, 'motion') and holds(job, A[2], A[3]) and w == job.motion_next
release(KEYS[1], A[3])
if not due then return 'skipped' end
redis.call('HSET', job.key .. ':window', int(w + 1), A[5])
redis.call('HSET', job.key .. ':motion', unpack(A, 6))
job.motion_next = w + 1
redis.call('HSET', job.key, 'motion_next', int(w + 1), 'progress_at', now())
clear(job, A[2])
redis.call('HDEL', job.key .. ':features', int(w))
redis.call('HDEL', job.key .. ':window', int(w - 1))
for i = 6, #A, 2 do issue(job, 'render', tonumber(A[i])) end
advance(job)
return 'done'
