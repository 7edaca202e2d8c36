-- commit_encode: id, unit, entry, window, features.
local job = load_job(A[1])
local due = job and is_active(job, 'encode') and holds(job, A[2], A[3])
release(KEYS[1], A[3])
if not due then return 'skipped' end
if tonumber(A[4]) >= job.motion_next then redis.call('HSET', job.key .. ':features', A[4], A[5]) end
redis.call('HSET', job.key, 'progress_at', now())
clear(job, A[2])
advance(job)
return 'done'
