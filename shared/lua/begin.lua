-- begin: id, task ("ingest" or "assemble"). 1 if the control task still has work to do; its lease starts anew.
local job = load_job(A[1])
if not job then return 0 end
touch()
if A[2] == 'ingest' and job.state == 'queued' then
  set_state(job, 'ingesting', 'task_at', now())
  return 1
end
if (A[2] == 'ingest' and job.state == 'ingesting') or (A[2] == 'assemble' and job.state == 'finalizing') then
  redis.call('HSET', job.key, 'task_at', now())
  return 1
end
return 0
