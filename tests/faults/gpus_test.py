"""The GPUs of the coordinator's own machine: each worker has one to itself. The worker program is the real one beside
the CUDA module of the emulated machine, with GPUs that are made up; a script around it notes which one it was shown."""

import fcntl
import os
import stat

from yard import WORKER, YardTest, main

ON_EMULATED_GPUS = os.environ.get("TRAINYARD_EMULATED_GPU_WORKER", "")

SCRIPT = """#!/bin/sh
if [ "$*" = --list-gpus ]; then %(lists)s; exit; fi
echo "[${CUDA_VISIBLE_DEVICES-nothing}]" >> %(shown)s
export TRAINYARD_EMULATED_GPUS=%(gpus)d TRAINYARD_EMULATED_GPU_MIB=%(mib)d
exec %(worker)s --gpu-claims %(claims)s "$@"
"""
MIB = 1024


def uuid(gpu):
    return "GPU-00000000-0000-0000-0000-00000000000%d" % gpu


class GpusOfThisMachine(YardTest):
    IMAGES = 160

    def setUp(self):
        super().setUp()
        self.yard.environment.pop("CUDA_VISIBLE_DEVICES", None)
        self.shown = os.path.join(self.yard.folder, "shown")
        self.claims = os.path.join(self.yard.folder, "claims")
        os.mkdir(self.claims)

    def script(self, gpus, lists=None, worker=ON_EMULATED_GPUS):
        """A worker program on so many GPUs, which says that there are those unless told to say something else."""
        path = os.path.join(self.yard.folder, "worker.sh")
        listing = "TRAINYARD_EMULATED_GPUS=%d TRAINYARD_EMULATED_GPU_MIB=%d %s --list-gpus" % (gpus, MIB, worker)
        with open(path, "w") as file:
            file.write(SCRIPT % {"lists": lists or listing, "gpus": gpus, "mib": MIB, "worker": worker,
                                 "shown": self.shown, "claims": self.claims})
        os.chmod(path, stat.S_IRWXU)
        return path

    def the_host(self):
        return [pool["hosts"][0] for pool in self.yard.json("pool", "list")["pools"]][0]

    def given(self):
        """What the workers that were launched were shown."""
        with open(self.shown) as file:
            return sorted(file.read().splitlines())

    def run_job(self, gpu, number, more=""):
        """A job that does not end before its test; each number makes another one."""
        resources = "resources: {gpu: %s%s}" % (gpu, more)
        return self.yard.submit(self.spec(epochs=50000 + number, filters=2, more=resources))

    def waits_for(self, job):
        return self.yard.job(job)["trials"][0]["attempts"][0].get("waiting_for", "")

    def uuids_at_work(self):
        """Job -> the UUID of the GPU of the worker that is at it; "" where that has none."""
        workers = self.yard.json("worker", "list").get("workers", [])
        return {int(w["job"]): w.get("gpu_device", {}).get("uuid", "") for w in workers if int(w.get("job", 0))}

    def test_each_worker_has_a_gpu_to_itself_and_who_needs_one_waits(self):
        self.yard.workers = 3
        self.yard.start("--worker-binary", self.script(2))
        self.assertEqual((self.the_host()["slots"], self.the_host()["gpu_slots"]), (3, 2))
        on_gpus = [self.run_job("required", 1), self.run_job("required", 2)]
        for job in on_gpus:
            self.yard.wait_for_epoch(job, 1)
        third = self.run_job("required", 3)
        on_cpu = self.run_job("none", 4)
        self.yard.wait_for_epoch(on_cpu, 1)
        self.assertEqual(self.given(), ["[%s]" % uuid(0), "[%s]" % uuid(1), "[]"])
        at_work = self.uuids_at_work()
        self.assertEqual(sorted(at_work[job] for job in on_gpus), [uuid(0), uuid(1)])
        self.assertEqual(at_work[on_cpu], "")
        self.assertIn("a GPU with", self.waits_for(third))
        self.assertIn("all 2 that suit are taken", self.waits_for(third))

    def test_unless_told_there_is_a_worker_for_each_gpu_and_one_without(self):
        self.yard.workers = None
        self.yard.start("--worker-binary", self.script(1))
        self.assertEqual((self.the_host()["slots"], self.the_host()["gpu_slots"]), (2, 1))
        self.assertEqual(self.the_host()["gpu_memory_bytes"], str(MIB << 20))
        off_gpus = self.run_job("none", 1)
        self.yard.wait_for_epoch(off_gpus, 1)
        on_gpu = self.run_job("required", 2)
        self.yard.wait_for_epoch(on_gpu, 1)
        self.assertEqual(self.uuids_at_work(), {off_gpus: "", on_gpu: uuid(0)})
        large = self.run_job("required", 3, more=", gpu_memory: 2GiB")
        self.assertIn("a GPU with 2.0 GiB", self.waits_for(large))
        self.assertIn("there is none that suits; the largest GPU has 1.0 GiB", self.waits_for(large))

    def test_a_gpu_that_another_process_has_is_waited_for_at_no_cost(self):
        self.yard.workers = 1
        self.yard.start("--worker-binary", self.script(1))
        with open(os.path.join(self.claims, "trainyard-%s.lock" % uuid(0)), "w") as claim:
            fcntl.flock(claim, fcntl.LOCK_EX)
            needs_gpu = self.run_job("required", 1)
            self.yard.wait_until(lambda: "is without 1 of its GPUs" in self.waits_for(needs_gpu),
                                 "the worker without its GPU to be let go")
        self.yard.wait_for_epoch(needs_gpu, 1)  # its slot is tried again after a minute
        self.assertEqual(len(self.yard.job(needs_gpu)["trials"][0]["attempts"]), 1)
        self.assertEqual(self.uuids_at_work(), {needs_gpu: uuid(0)})

    def test_without_gpus_or_with_a_program_that_cannot_tell_all_is_as_before(self):
        self.yard.environment["CUDA_VISIBLE_DEVICES"] = "7"
        for lists, said in (("true", 0), ("echo nonsense", 1)):
            self.yard.workers = None
            self.yard.start("--worker-binary", self.script(0, lists, worker=WORKER))
            self.assertEqual((self.the_host()["slots"], self.the_host()["gpu_slots"]), (1, 0))
            self.assertEqual(self.yard.log().count("compute on the CPU"), said, self.yard.log())
            job = self.run_job("any", 5 + said)
            self.yard.wait_for_epoch(job, 1)
            self.yard.cli("job", "cancel", str(job))
            self.yard.wait_for_end(job)
            self.yard.kill()
        self.assertEqual(set(self.given()), {"[7]"}, "what we see, they see")


if __name__ == "__main__":
    main()
