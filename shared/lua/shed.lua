-- shed: id. Redis is full: drop the frames that are muxed already and kept for viewers only.
touch()
local job = load_job(A[1])
if not job then return 0 end
drop_slices(job, job.muxed)
return 1
